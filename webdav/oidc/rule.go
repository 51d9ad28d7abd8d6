// Package oidc lets those in who show an ID token of OpenID Connect, as CI jobs get one
// from the forge that runs them: no secret has to be kept anywhere.
package oidc

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/token"
)

// A Rule says which ID tokens are good, and what for.
//
// It is written as words parted by commas:
//
//	issuer=https://token.actions.githubusercontent.com,audience=https://cache.example.org,
//	claim:repository=acme/*,scope=upload,root=acme/*
//
// A claim has to match its pattern, and all of them have to: * stands for any characters
// but a slash, ** for any at all. A root may have claims in it, as in
// root={repository}/{ref_name}.
type Rule struct {
	Issuer   string
	Audience string
	Claims   []Claim
	Scopes   []webdav.Scope
	Roots    []string      // patterns of roots, with {claim} for what the claim says
	TTL      time.Duration // how long a token of ours is good

	text string
}

// A Claim is what an ID token has to say.
type Claim struct{ Name, Pattern string }

// How long a token of ours is good, if a rule does not say, and at most.
const (
	defaultTTL = time.Hour
	maxTTL     = 24 * time.Hour
)

const maxRule = 4 << 10 // bytes

// ParseRule reads a rule.
func ParseRule(text string) (Rule, error) {
	r := Rule{TTL: defaultTTL, text: text}
	if len(text) > maxRule {
		return r, fmt.Errorf("a rule of more than %d bytes", maxRule)
	}
	seen := map[string]bool{}
	for word := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return r, fmt.Errorf("%.60q: want NAME=VALUE, such as issuer=https://…", word)
		}
		if repeats := name == "root" || name == "scope"; seen[name] && !repeats {
			return r, fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		var err error
		switch claim, isClaim := strings.CutPrefix(name, "claim:"); {
		case isClaim && claim != "":
			r.Claims = append(r.Claims, Claim{claim, value})
		case name == "issuer":
			r.Issuer, err = value, checkIssuer(value)
		case name == "audience":
			r.Audience = value
		case name == "scope":
			var scopes []webdav.Scope
			scopes, err = token.ParseScopes(value)
			r.Scopes = append(r.Scopes, scopes...)
		case name == "root":
			r.Roots, err = append(r.Roots, value), checkRoot(value)
		case name == "ttl":
			r.TTL, err = time.ParseDuration(value)
			if err != nil || r.TTL < time.Minute || r.TTL > maxTTL {
				err = fmt.Errorf("%.20q: want 1m to %gh", value, maxTTL.Hours())
			}
		default:
			err = errors.New("choose of issuer, audience, claim:NAME, scope, root, ttl")
		}
		if err != nil {
			return r, fmt.Errorf("%.60s: %w", name, err)
		}
	}
	switch {
	case r.Issuer == "":
		return r, errors.New("no issuer=URL")
	case r.Audience == "":
		return r, errors.New("no audience=TEXT: tokens that were made for others would be good")
	case !slices.ContainsFunc(r.Claims, func(c Claim) bool { return strings.Trim(c.Pattern, "*/") != "" }):
		// The great forges have one issuer for all their users.
		return r, errors.New("no claim:NAME=PATTERN that tells whose tokens are good: everyone at the issuer would be let in")
	case len(r.Scopes) == 0:
		return r, errors.New("no scope=read, upload or admin")
	}
	return r, nil
}

// checkIssuer refuses an issuer whose keys could be changed on the way.
func checkIssuer(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want a URL such as https://token.actions.githubusercontent.com")
	}
	return checkURL(u)
}

func checkURL(u *url.URL) error {
	if u.Scheme != "https" && !(u.Scheme == "http" && isLocal(u)) {
		return errors.New("want https://: whoever is in between could make keys of their own")
	}
	return nil
}

func isLocal(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// checkRoot refuses a pattern that could be none, whatever claims say.
func checkRoot(text string) error {
	_, err := fill(text, func(string) (string, error) { return "x", nil })
	return err
}

// ID names a rule in tokens of ours: those of a rule that was changed are good no more.
func (r Rule) ID() string {
	sum := sha256.Sum256([]byte(r.text))
	return fmt.Sprintf("%x", sum[:8])
}

// Holders says whose tokens are good, for people.
func (r Rule) Holders() string {
	who := "oidc:issuer=" + r.Issuer
	for _, c := range r.Claims {
		who += ",claim:" + c.Name + "=" + c.Pattern
	}
	return who
}

// matches reports whether the claims of a token are those that the rule wants; if not,
// it says which is not.
func (r Rule) matches(claims map[string]json.RawMessage) (ok bool, why string) {
	for _, c := range r.Claims {
		values := texts(claims[c.Name])
		if !slices.ContainsFunc(values, func(v string) bool { return match(c.Pattern, v) }) {
			return false, c.Name
		}
	}
	return true, ""
}

// roots returns the patterns of roots for the claims of a token.
func (r Rule) roots(claims map[string]json.RawMessage) (roots []layout.RootPattern, err error) {
	for _, text := range r.Roots {
		p, err := fill(text, func(name string) (string, error) {
			values := texts(claims[name])
			if len(values) != 1 || strings.ContainsAny(values[0], "*,") {
				return "", fmt.Errorf("the claim %s is not one name", name)
			}
			return values[0], nil
		})
		if err != nil {
			return nil, err
		}
		roots = append(roots, p)
	}
	return roots, nil
}

func fill(text string, value func(claim string) (string, error)) (layout.RootPattern, error) {
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(text, "{")
		b.WriteString(before)
		if !open {
			return layout.ParseRootPattern(b.String())
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return "", errors.New("a { without a claim and a }")
		}
		v, err := value(name)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		text = after
	}
}

// texts returns the values of a claim: a text, a number, a truth, or a list of them.
func texts(raw json.RawMessage) []string {
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if len(raw) == 0 || d.Decode(&v) != nil {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	var values []string
	for _, v := range list {
		switch v := v.(type) {
		case string:
			values = append(values, v)
		case bool:
			values = append(values, strconv.FormatBool(v))
		case json.Number:
			values = append(values, v.String())
		}
	}
	return values
}

// match reports whether a pattern is that of a whole text. It takes time in proportion
// to the product of their lengths at most.
func match(pattern, text string) bool {
	// reach[i] says that the pattern so far matches the first i bytes.
	reach := make([]bool, len(text)+1)
	reach[0] = true
	for pattern != "" {
		next := make([]bool, len(text)+1)
		switch {
		case pattern[0] == '*':
			deep := strings.HasPrefix(pattern, "**")
			for i := range reach {
				next[i] = reach[i] || i > 0 && next[i-1] && (deep || text[i-1] != '/')
			}
			pattern = pattern[1:]
			if deep {
				pattern = pattern[1:]
			}
		default:
			for i := range text {
				next[i+1] = reach[i] && text[i] == pattern[0]
			}
			pattern = pattern[1:]
		}
		reach = next
	}
	return reach[len(text)]
}

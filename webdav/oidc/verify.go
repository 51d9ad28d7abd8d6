package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/nixstatic/nixstatic/webdav/token"
)

const (
	maxToken = 16 << 10         // bytes of an ID token
	skew     = 60 * time.Second // by which clocks may differ
	maxName  = 60               // bytes of a subject in the log
)

// A Verifier knows rules and the keys of their issuers. It is safe for concurrent use.
type Verifier struct {
	rules []Rule
	keys  map[string]*keys // by issuer
	now   func() time.Time
}

// New returns a Verifier for some rules. It asks no issuer before a token is shown.
// Transport makes the requests; nil for that of the system.
func New(rules []Rule, transport http.RoundTripper) *Verifier {
	if transport == nil {
		transport = http.DefaultTransport
	}
	v := &Verifier{rules: rules, keys: map[string]*keys{}, now: time.Now}
	for _, r := range rules {
		if v.keys[r.Issuer] == nil {
			v.keys[r.Issuer] = &keys{issuer: r.Issuer, client: client(transport, r.Issuer), now: func() time.Time { return v.now() }}
		}
	}
	return v
}

// Knows reports whether there is a rule of a name.
func (v *Verifier) Knows(id string) bool {
	for _, r := range v.rules {
		if r.ID() == id {
			return true
		}
	}
	return false
}

// Verify returns what an ID token is good for: by the first rule that it fits. An error
// says what is wrong with the token, in words for the client; one that wraps ErrUnavailable
// says that nothing could be found out.
func (v *Verifier) Verify(ctx context.Context, raw string) (token.Identity, error) {
	issuer, id, err := peek(raw)
	if err != nil {
		return token.Identity{}, err
	}
	keys := v.keys[issuer]
	if keys == nil {
		return token.Identity{}, fmt.Errorf("no rule is for the issuer %.200q", issuer)
	}
	if _, _, err := keys.find(ctx, id, time.Time{}); err != nil {
		return token.Identity{}, err
	}
	var refused error
	for _, rule := range v.rules {
		if rule.Issuer != issuer {
			continue
		}
		identity, err := v.verify(ctx, rule, keys, raw)
		if err == nil {
			return identity, nil
		}
		// The word about the claims says more than the one about another audience.
		if wrong := (*claimError)(nil); refused == nil || errors.As(err, &wrong) {
			refused = err
		}
	}
	return token.Identity{}, refused
}

type claimError struct{ claim string }

func (e *claimError) Error() string {
	return fmt.Sprintf("its claim %q is not what a rule wants", e.claim)
}

func (v *Verifier) verify(ctx context.Context, rule Rule, keys *keys, raw string) (token.Identity, error) {
	signed := &signature{keys: keys}
	verifier := oidc.NewVerifier(rule.Issuer, signed, &oidc.Config{ClientID: rule.Audience, SupportedSigningAlgs: algorithms,
		// The library allows for other clocks where a token is not good yet, but not where
		// it is good no more.
		Now: func() time.Time { return v.now().Add(-skew) }})
	shown, err := verifier.Verify(ctx, raw)
	if signed.err != nil {
		return token.Identity{}, signed.err
	}
	if err != nil {
		return token.Identity{}, err
	}
	var claims map[string]json.RawMessage
	if err := shown.Claims(&claims); err != nil {
		return token.Identity{}, err
	}
	if shown.IssuedAt.After(v.now().Add(5 * time.Minute)) {
		return token.Identity{}, errors.New("it was issued in the future")
	}
	if ok, claim := rule.matches(claims); !ok {
		return token.Identity{}, &claimError{claim}
	}
	roots, err := rule.roots(claims)
	if err != nil {
		return token.Identity{}, err
	}
	return token.Identity{Rule: rule.ID(), Name: nameOf(shown.Subject), Scopes: rule.Scopes, Roots: roots, Until: v.now().Add(rule.TTL)}, nil
}

// A signature remembers why one could not be verified: the library tells the words of that
// error alone.
type signature struct {
	keys *keys
	err  error
}

func (s *signature) VerifySignature(ctx context.Context, raw string) (payload []byte, err error) {
	payload, s.err = s.keys.VerifySignature(ctx, raw)
	return payload, s.err
}

// peek returns what a token says of its issuer and key, which is not believed yet.
func peek(raw string) (issuer, key string, err error) {
	if len(raw) > maxToken {
		return "", "", fmt.Errorf("an ID token of more than %d bytes", maxToken)
	}
	var header struct {
		Key string `json:"kid"`
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return "", "", errors.New("not a signed ID token")
	}
	return claims.Issuer, header.Key, nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// nameOf makes a name for the log of a subject, such as repo:acme/app:ref:refs/heads/main.
// A subject that the name cannot hold as it is has a digest at the end: two subjects
// never have the same name.
func nameOf(subject string) string {
	name := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`"\,;~`, r) {
			return r
		}
		return '_'
	}, subject)
	if name = name[:min(len(name), maxName)]; name != subject {
		sum := sha256.Sum256([]byte(subject))
		name += fmt.Sprintf("~%x", sum[:8])
	}
	return "oidc:" + name
}

package token

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
)

// An Identity is what a client showed that it is, by a token of another service.
type Identity struct {
	Rule   string // which let it in
	Name   string // for the log
	Scopes []webdav.Scope
	Roots  []layout.RootPattern
	Until  time.Time // when the token that it gets ends
}

// exchangedPrefix begins the secrets that identities are exchanged for. No token of a file
// has such a length.
const exchangedPrefix = tokenPrefix + "x"

const maxExchanged = 2 << 10 // bytes: it has to fit into a line of a netrc

// A Mint makes tokens that need no memory: each says by itself what it is good for, under
// a key that the servers of a tree share. So any of them takes it, and none keeps a list.
type Mint struct {
	key  []byte
	good func(rule string) bool // whether a rule is still in force
}

// NewMint returns a Mint. Its key is made of a secret that the servers of a tree have in
// common, such as the key that signs; without one it is of this process alone. A token is
// good while its rule is.
func NewMint(secret []byte, good func(rule string) bool) *Mint {
	key := make([]byte, 32)
	rand.Read(key)
	if len(secret) > 0 {
		var err error
		if key, err = hkdf.Key(sha256.New, secret, nil, "nixstatic: tokens for identities, version 1", 32); err != nil {
			panic(err) // a length that SHA-256 cannot have
		}
	}
	return &Mint{key, good}
}

// exchanged is what a token holds. Its names are short, since a netrc has long lines
// already.
type exchanged struct {
	Rule   string   `json:"r"`
	Name   string   `json:"n"`
	Scopes string   `json:"s"`
	Roots  []string `json:"p,omitempty"`
	Until  int64    `json:"e"` // Unix time
}

// Make returns the secret for an identity.
func (m *Mint) Make(i Identity) (string, error) {
	t := Token{Scopes: i.Scopes}
	e := exchanged{Rule: i.Rule, Name: i.Name, Scopes: t.ScopeList(), Until: i.Until.Unix()}
	for _, p := range i.Roots {
		e.Roots = append(e.Roots, string(p))
	}
	body, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	secret := exchangedPrefix + base64.RawURLEncoding.EncodeToString(append(m.mac(body), body...))
	if len(secret) > maxExchanged {
		return "", errors.New("the names of its roots are too long")
	}
	return secret, nil
}

func (m *Mint) mac(body []byte) []byte {
	h := hmac.New(sha256.New, m.key)
	h.Write(body)
	return h.Sum(nil)
}

// open returns the token that a secret is, if it is one of ours and its rule is in force.
func (m *Mint) open(secret string) (Token, bool) {
	text, ok := strings.CutPrefix(secret, exchangedPrefix)
	if !ok || len(secret) > maxExchanged {
		return Token{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], m.mac(raw[sha256.Size:])) {
		return Token{}, false
	}
	var e exchanged
	if json.Unmarshal(raw[sha256.Size:], &e) != nil || !m.good(e.Rule) {
		return Token{}, false
	}
	t := Token{Name: e.Name, Until: time.Unix(e.Until, 0).UTC()}
	if t.Scopes, err = ParseScopes(e.Scopes); err != nil {
		return Token{}, false
	}
	for _, p := range e.Roots {
		t.Roots = append(t.Roots, layout.RootPattern(p))
	}
	return t, true
}

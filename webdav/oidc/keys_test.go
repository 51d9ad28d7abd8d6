package oidc

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Keys are rotated: the new one is asked for, the old one goes.
func TestVerifyRotation(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, i)
	clock := time.Now()
	v.now = func() time.Time { return clock }
	old := i.good()
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.tells.PublicKeys = nil
	i.add("next", oidc.RS256, key)
	next := i.sign("next", oidc.RS256, nil)
	if _, err := v.Verify(t.Context(), next); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a new key a moment after the issuer was asked: %v", err)
	}
	clock = clock.Add(fetchPause)
	if _, err := v.Verify(t.Context(), next); err != nil {
		t.Errorf("a new key: %v", err)
	}
	clock = clock.Add(fetchPause)
	if _, err := v.Verify(t.Context(), old); err == nil {
		t.Error("a key that is gone is good still")
	}
}

// An issuer that gives a new key the name of the old one, or no name, is asked again once in a
// while, and however many tokens have a wrong signature.
func TestVerifyRotationOfOneName(t *testing.T) {
	for _, name := range []string{"the-key", ""} {
		i := newIssuer(t)
		v := newVerifier(t, i)
		clock := time.Now()
		v.now = func() time.Time { return clock }
		rotate := func() (token string) {
			t.Helper()
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			i.tells.PublicKeys = nil
			i.add(name, oidc.RS256, key)
			return i.sign(name, oidc.RS256, nil)
		}
		old := rotate()
		if _, err := v.Verify(t.Context(), old); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		next := rotate()
		clock = clock.Add(fetchPause)
		i.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", 500) })
		if _, err := v.Verify(t.Context(), next); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: a new key while the issuer is away: %v", name, err)
		}
		if _, err := v.Verify(t.Context(), old); err != nil {
			t.Errorf("%q: a key that is known: %v", name, err)
		}
		i.answer(nil)
		clock = clock.Add(fetchPause)
		if _, err := v.Verify(t.Context(), next); err != nil {
			t.Errorf("%q: a new key: %v", name, err)
		}
		asked := i.asked.Load()
		clock = clock.Add(fetchPause)
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if _, err := v.Verify(t.Context(), old); err == nil || errors.Is(err, ErrUnavailable) {
					t.Errorf("%q: a key that is gone: %v", name, err)
				}
			})
		}
		wait.Wait()
		if n := i.asked.Load() - asked; n != 1 {
			t.Errorf("%q: the issuer was asked %d times for wrong signatures", name, n)
		}
	}
}

// An issuer elsewhere leads to nothing that listens on this machine alone, nor to plain HTTP.
func TestCheckFrom(t *testing.T) {
	for _, test := range []struct {
		issuer, at string
		good       bool
	}{
		{"https://i.example.org", "https://keys.example.com/k", true},
		{"https://i.example.org", "http://keys.example.com/k", false},
		{"https://i.example.org", "http://localhost:8080/k", false},
		{"https://i.example.org", "https://127.0.0.1/k", false},
		{"https://i.example.org", "http://[::1]:80/k", false},
		{"http://localhost:3000", "http://127.0.0.1:3000/k", true},
		{"http://localhost:3000", "http://i.example.org/k", false},
	} {
		u, err := url.Parse(test.at)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkFrom(test.issuer, u); (err == nil) != test.good {
			t.Errorf("%s leads to %s: %v", test.issuer, test.at, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	secret := jose.JSONWebKey{Key: []byte("secret"), KeyID: "a", Algorithm: "HS256"}
	weak := jose.JSONWebKey{Key: small.Public(), KeyID: "b"}
	private := jose.JSONWebKey{Key: small, KeyID: "c"}
	for _, key := range []jose.JSONWebKey{secret, weak, private} {
		text, err := key.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if keys, err := parseKeys([]byte(`{"keys":[` + string(text) + `]}`)); err == nil {
			t.Errorf("%s is taken: %v", text, keys)
		}
	}
	if _, err := parseKeys([]byte(`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("many keys: %v", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Errorf("%d keys", len(keys))
		}
	})
}

package oidc

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func newVerifier(t testing.TB, i *issuer, more ...string) *Verifier {
	t.Helper()
	text := "issuer=" + i.URL + ",audience=https://cache.example.org,claim:repository=acme/*,scope=upload,root={repository}/*"
	var rules []Rule
	for _, text := range append([]string{text}, more...) {
		rule, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	return New(rules, nil)
}

func TestVerify(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, i)
	for key, alg := range map[string]string{"rsa": oidc.RS256, "ec": oidc.ES256, "ed": oidc.EdDSA} {
		identity, err := v.Verify(t.Context(), i.sign(key, alg, nil))
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		if identity.Name != "oidc:repo:acme/app:ref:refs/heads/main" || time.Until(identity.Until) > time.Hour {
			t.Errorf("%+v", identity)
		}
		if diff := cmp.Diff([]layout.RootPattern{"acme/app/*"}, identity.Roots); diff != "" {
			t.Error(diff)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked for keys %d times", n)
	}
}

// A token is refused for each thing that is wrong with it.
func TestVerifyRefuses(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	v := newVerifier(t, i)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	none := func(claims string) string {
		b := base64.RawURLEncoding.EncodeToString
		return b([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + b([]byte(claims)) + "."
	}
	shared := func(key []byte) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "rsa"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(i.claims(nil)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	public, err := x509.MarshalPKIXPublicKey(i.private["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(i.good(), ".")
	body, signature, _ := strings.Cut(rest, ".")
	for name, raw := range map[string]string{
		"another issuer":           other.good(),
		"another's claim":          oidctest.SignIDToken(other.private["rsa"], "rsa", oidc.RS256, i.claims(nil)),
		"another audience":         i.sign("rsa", oidc.RS256, map[string]any{"aud": "https://other.example.org"}),
		"no audience":              i.sign("rsa", oidc.RS256, map[string]any{"aud": nil}),
		"another repository":       i.sign("rsa", oidc.RS256, map[string]any{"repository": "evil/app"}),
		"a repository alike":       i.sign("rsa", oidc.RS256, map[string]any{"repository": "acme-evil/app"}),
		"a deeper repository":      i.sign("rsa", oidc.RS256, map[string]any{"repository": "acme/app/x"}),
		"another's case":           i.sign("rsa", oidc.RS256, map[string]any{"repository": "Acme/app"}),
		"no repository":            i.sign("rsa", oidc.RS256, map[string]any{"repository": nil}),
		"an object for it":         i.sign("rsa", oidc.RS256, map[string]any{"repository": map[string]any{"acme/app": 1}}),
		"a star in it":             i.sign("rsa", oidc.RS256, map[string]any{"repository": "acme/*"}),
		"two repositories":         i.sign("rsa", oidc.RS256, map[string]any{"repository": []string{"acme/app", "acme/b"}}),
		"expired":                  i.sign("rsa", oidc.RS256, map[string]any{"exp": at(-2 * time.Minute)}),
		"an end in words":          i.sign("rsa", oidc.RS256, map[string]any{"exp": "tomorrow"}),
		"a negative end":           i.sign("rsa", oidc.RS256, map[string]any{"exp": -1}),
		"an end beyond time":       i.sign("rsa", oidc.RS256, map[string]any{"exp": 1e300}),
		"no end":                   i.sign("rsa", oidc.RS256, map[string]any{"exp": nil}),
		"not yet valid":            i.sign("rsa", oidc.RS256, map[string]any{"nbf": at(10 * time.Minute), "exp": at(time.Hour)}),
		"issued in the future":     i.sign("rsa", oidc.RS256, map[string]any{"iat": at(10 * time.Minute), "nbf": nil, "exp": at(time.Hour)}),
		"no algorithm":             none(i.claims(nil)),
		"an algorithm of its own":  i.sign("rsa", oidc.RS512, nil),
		"a key of another kind":    oidctest.SignIDToken(i.private["ec"], "rsa", oidc.ES256, i.claims(nil)),
		"the public key as secret": shared(public),
		"the same as PEM":          shared(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"no signature":             head + "." + body + ".",
		"another signature":        head + "." + body + "." + strings.Repeat("A", len(signature)),
		"another body":             head + "." + base64.RawURLEncoding.EncodeToString([]byte(i.claims(map[string]any{"repository": "acme/b"}))) + "." + signature,
		"rubbish":                  "rubbish",
		"empty":                    "",
		"dots":                     "..",
		"very long":                strings.Repeat("A", maxToken+1),
	} {
		identity, err := v.Verify(t.Context(), raw)
		if err == nil {
			t.Errorf("%s: is taken for %+v", name, identity)
		}
		if errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), i.good()); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Clocks may differ by a little.
func TestVerifySkew(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, i)
	for _, but := range []map[string]any{
		{"exp": time.Now().Add(-30 * time.Second).Unix()},
		{"nbf": time.Now().Add(30 * time.Second).Unix(), "iat": time.Now().Add(30 * time.Second).Unix()},
	} {
		if _, err := v.Verify(t.Context(), i.sign("rsa", oidc.RS256, but)); err != nil {
			t.Errorf("%v: %v", but, err)
		}
	}
}

// A rule may ask for more than one claim, and one rule of many is enough.
func TestVerifyRules(t *testing.T) {
	i := newIssuer(t)
	more := "issuer=" + i.URL + ",audience=other,claim:repository=beta/**,claim:ref_protected=true,scope=read,scope=upload,ttl=10m"
	v := newVerifier(t, i, more)
	identity, err := v.Verify(t.Context(), i.sign("ed", oidc.EdDSA, map[string]any{"aud": []string{"x", "other"}, "repository": "beta/a/b"}))
	if err != nil || time.Until(identity.Until) > 10*time.Minute || len(identity.Scopes) != 2 {
		t.Errorf("%+v, %v", identity, err)
	}
	_, err = v.Verify(t.Context(), i.sign("ed", oidc.EdDSA, map[string]any{"aud": "other", "repository": "beta/b", "ref_protected": false}))
	if err == nil || !strings.Contains(err.Error(), "ref_protected") {
		t.Errorf("a claim that does not fit: %v", err)
	}
}

// A flood of names of keys asks the issuer once.
func TestVerifyFlood(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, i)
	var wait sync.WaitGroup
	for n := range 500 {
		raw := oidctest.SignIDToken(i.private["ec"], fmt.Sprint("made-up-", n), oidc.ES256, i.claims(nil))
		wait.Go(func() {
			if _, err := v.Verify(t.Context(), raw); err == nil {
				t.Error("a key that is not there is good")
			}
		})
	}
	wait.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	if _, err := v.Verify(t.Context(), i.good()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// An issuer that does not answer, or answers something else, costs its own clients alone,
// and is asked once in a while. Its word is missing: it is not a refusal.
func TestVerifyIssuerDown(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"keys":[`))
		for range 10_000 {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1000))); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"500":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", 500) },
		"a page":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"endless": endless,
		"another issuer": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"https://other.example.org","jwks_uri":"http://%s/keys"}`, r.Host)
		},
		"redirects without end": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"a redirect to plain HTTP": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://i.example.org"+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"keys in plain HTTP": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://keys.example.org/keys"}`, r.Host)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := newIssuer(t), newIssuer(t)
			bad.answer(answer)
			v := newVerifier(t, bad, "issuer="+good.URL+",audience=https://cache.example.org,claim:repository=acme/*,scope=upload")
			clock := time.Now()
			v.now = func() time.Time { return clock }
			for range 3 {
				if _, err := v.Verify(t.Context(), bad.good()); !errors.Is(err, ErrUnavailable) {
					t.Errorf("%v", err)
				}
			}
			if _, err := v.Verify(t.Context(), good.good()); err != nil {
				t.Errorf("the other issuer: %v", err)
			}
			bad.answer(nil)
			clock = clock.Add(fetchPause)
			if _, err := v.Verify(t.Context(), bad.good()); err != nil {
				t.Errorf("when it is back: %v", err)
			}
			// Keys that are known are good while it is away again.
			bad.answer(answer)
			clock = clock.Add(2 * time.Hour)
			fresh := map[string]any{"exp": clock.Add(time.Minute).Unix()}
			if _, err := v.Verify(t.Context(), bad.sign("rsa", oidc.RS256, fresh)); err != nil {
				t.Errorf("with keys that are known: %v", err)
			}
		})
	}
}

// An issuer that hangs keeps the clients waiting that show its tokens, for as long as they
// like.
func TestVerifyIssuerHangs(t *testing.T) {
	i := newIssuer(t)
	hang := make(chan struct{})
	defer close(hang)
	i.answer(func(http.ResponseWriter, *http.Request) { <-hang })
	v := newVerifier(t, i)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := v.Verify(ctx, i.good()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

func TestParseRule(t *testing.T) {
	const start = "issuer=https://i.example.org,audience=a,"
	for text, want := range map[string]string{
		"":                                "want NAME=VALUE",
		"audience=a,claim:b=c,scope=read": "no issuer",
		"issuer=https://i.example.org,scope=read,claim:b=c":                "no audience",
		start + "scope=upload":                                             "everyone at the issuer",
		start + "scope=upload,claim:repository=*":                          "everyone at the issuer",
		start + "scope=upload,claim:repository=**/*":                       "everyone at the issuer",
		start + "claim:b=c":                                                "no scope",
		start + "claim:b=c,scope=all":                                      "scope",
		start + "claim:b=c,scope=read,ttl=1s":                              "ttl",
		start + "claim:b=c,scope=read,ttl=48h":                             "ttl",
		start + "claim:b=c,scope=read,root=a b":                            "root",
		start + "claim:b=c,scope=read,root={":                              "root",
		start + "claim:b=c,scope=read,claims=x":                            "choose of",
		start + "claim:b=c,claim:b=d,scope=read":                           "twice",
		start + "issuer=https://j.example.org,claim:b=c,scope=read":        "twice",
		"issuer=http://i.example.org,audience=a,claim:b=c,scope=read":      "https",
		"issuer=https://u:p@i.example.org,audience=a,claim:b=c,scope=read": "want a URL",
		"issuer=https://i.example.org?x=1,audience=a,claim:b=c,scope=read": "want a URL",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	r, err := ParseRule(start + "claim:b=c,scope=read")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ParseRule(start + "claim:b=d,scope=read")
	if err != nil || r.ID() == other.ID() {
		t.Errorf("two rules have one ID: %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"acme/*", "acme/app", true}, {"acme/*", "acme/", true}, {"acme/*", "acme/a/b", false}, {"acme/**", "acme/a/b", true},
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"refs/heads/*", "refs/heads/release/1", false}, {"refs/heads/**", "refs/heads/release/1", true}, {"**/x", "a/b/x", true},
		{"[a]?", "[a]?", true}, {"[a]?", "ab", false},
	} {
		if got := match(test.pattern, test.text); got != test.want {
			t.Errorf("%q of %q: %v", test.pattern, test.text, got)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("issuer=https://i.example.org,audience=a,claim:b=c*,scope=read,root={b}/*", "c", `{"b":"cc"}`)
	f.Fuzz(func(t *testing.T, text, value, _ string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		if len(r.Claims) == 0 || len(r.Scopes) == 0 || r.Audience == "" || r.Issuer == "" {
			t.Errorf("%+v", r)
		}
		for _, c := range r.Claims {
			match(c.Pattern, value)
		}
	})
}

func TestNameOf(t *testing.T) {
	long := "repo:acme/" + strings.Repeat("a", 50)
	names := map[string]string{}
	for _, subject := range []string{"", "a b", "a_b", "a\"b", "a~b", long, long + "b", long + "c", long + "c "} {
		name := nameOf(subject)
		if other, ok := names[name]; ok {
			t.Errorf("%q and %q are both %q", subject, other, name)
		}
		names[name] = subject
		if strings.ContainsAny(name, "\", \n") || len(name) > 90 {
			t.Errorf("%q is not a name", name)
		}
	}
	if name := nameOf(long); name != "oidc:"+long {
		t.Errorf("%q has a name of its own: %q", long, name)
	}
}

package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// An issuer is a real one, made with the library, that can misbehave.
type issuer struct {
	URL     string
	tells   *oidctest.Server
	private map[string]crypto.Signer // by the name of the key
	asked   atomic.Int64             // requests for keys

	mu      sync.Mutex
	instead http.HandlerFunc // answers in the place of the issuer, if it is set
}

// keysOfRSA take long to make, so that the issuers share them in turns: two that are made
// one after the other have different ones.
var keysOfRSA = [2]func() (*rsa.PrivateKey, error){sync.OnceValues(newRSA), sync.OnceValues(newRSA)}

func newRSA() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

var issuers atomic.Int64 // that were made

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{tells: &oidctest.Server{Algorithms: []string{oidc.RS256, oidc.ES256, oidc.EdDSA}}, private: map[string]crypto.Signer{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			i.asked.Add(1)
		}
		i.mu.Lock()
		instead := i.instead
		i.mu.Unlock()
		if instead != nil {
			instead(w, r)
			return
		}
		i.tells.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.tells.SetIssuer(i.URL)
	r, err := keysOfRSA[issuers.Add(1)%2]()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.add("rsa", oidc.RS256, r)
	i.add("ec", oidc.ES256, e)
	i.add("ed", oidc.EdDSA, d)
	return i
}

func (i *issuer) add(name, alg string, key crypto.Signer) {
	i.private[name] = key
	i.tells.PublicKeys = append(i.tells.PublicKeys, oidctest.PublicKey{PublicKey: key.Public(), KeyID: name, Algorithm: alg})
}

// answer has the issuer answer otherwise; nil: as it should.
func (i *issuer) answer(f http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.instead = f
}

// claims are those of a good token, but for some. A nil value leaves one out.
func (i *issuer) claims(but map[string]any) string {
	now := time.Now()
	claims := map[string]any{"iss": i.URL, "aud": "https://cache.example.org", "sub": "repo:acme/app:ref:refs/heads/main",
		"repository": "acme/app", "ref_protected": true, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	maps.Copy(claims, but)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (i *issuer) sign(key, alg string, but map[string]any) string {
	return oidctest.SignIDToken(i.private[key], key, alg, i.claims(but))
}

func (i *issuer) good() string { return i.sign("rsa", oidc.RS256, nil) }

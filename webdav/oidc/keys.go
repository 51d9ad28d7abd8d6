package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// The algorithms that count: none with a shared secret, which would make a public key
// one, and not the absence of any.
var algorithms = []string{oidc.RS256, oidc.ES256, oidc.EdDSA}

const (
	maxDocument = 1 << 20 // bytes of what an issuer sends
	maxKeys     = 100
	minRSA      = 2048 // bits

	fetchTime = 10 * time.Second // for discovery and keys together
	keysFresh = time.Hour        // keys are asked for again after that
	keysGood  = 12 * time.Hour   // and are good for that long if the issuer does not answer
	// fetchPause is how long an issuer is left alone after it was asked, whatever keys
	// tokens name.
	fetchPause = 30 * time.Second
)

// ErrUnavailable says that an issuer does not tell its keys.
var ErrUnavailable = errors.New("the issuer does not tell its keys")

// keys are those of an issuer. Only clients that show its tokens wait while it is asked.
type keys struct {
	issuer string
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	known   []jose.JSONWebKey
	fetched time.Time     // when known was fetched
	asked   time.Time     // when the issuer was asked last
	failure error         // of that time
	asking  chan struct{} // closed when a question under way is answered; nil: there is none
}

// VerifySignature returns the payload of a token that a key of the issuer has signed. It
// is what the library asks for, once it has looked at the algorithm.
func (k *keys) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	var algs []jose.SignatureAlgorithm
	for _, a := range algorithms {
		algs = append(algs, jose.SignatureAlgorithm(a))
	}
	signed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("not one signature in the compact form")
	}
	id := signed.Signatures[0].Header.KeyID
	for older := (time.Time{}); ; {
		known, fetched, err := k.find(ctx, id, older)
		if err != nil {
			return nil, err
		}
		for _, key := range known {
			if payload, err := signed.Verify(key); err == nil {
				return payload, nil
			}
		}
		// Some issuers name no key, or give the name of the old key to the new one.
		if older.Equal(fetched) {
			return nil, errors.New("no key of the issuer has signed it")
		}
		older = fetched
	}
}

// find returns the keys of a name, or all for "", and when they were fetched. An unknown
// name has the issuer asked, and old keys do, and keys that were fetched at a moment, which
// have not signed a token. Those that are known are returned again where the issuer was asked a
// little while ago.
func (k *keys) find(ctx context.Context, id string, wrong time.Time) ([]jose.JSONWebKey, time.Time, error) {
	for answered := false; ; answered = true {
		k.mu.Lock()
		now := k.now()
		var found []jose.JSONWebKey
		for _, key := range k.known {
			if id == "" || key.KeyID == id {
				found = append(found, key)
			}
		}
		old := now.Sub(k.fetched)
		may := now.Sub(k.asked) >= fetchPause || now.Before(k.asked)
		fresh := old < keysFresh && (answered || wrong.IsZero() || !k.fetched.Equal(wrong))
		if len(found) > 0 && fresh || !may && k.asking == nil {
			failure, fetched := k.failure, k.fetched
			k.mu.Unlock()
			newer := wrong.IsZero() || !fetched.Equal(wrong)
			switch {
			case len(found) > 0 && old < keysGood && (newer || failure == nil):
				return found, fetched, nil
			case failure != nil:
				return nil, fetched, fmt.Errorf("%w: %w", ErrUnavailable, failure)
			case !answered:
				// It may be newer than the keys that are known (I5).
				return nil, fetched, fmt.Errorf("%w: a key is new, and it was asked a moment ago", ErrUnavailable)
			}
			return nil, fetched, errors.New("the issuer has no key of that name")
		}
		if k.asking == nil {
			k.asking, k.asked = make(chan struct{}), now
			go k.fetch(k.asking) // ends after fetchTime
		}
		asking := k.asking
		k.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return nil, time.Time{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

func (k *keys) fetch(asking chan struct{}) {
	ctx, stop := context.WithTimeout(context.Background(), fetchTime)
	defer stop()
	fetched, err := k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure = err; err == nil {
		k.known, k.fetched = fetched, k.now()
	}
	k.asking = nil
	close(asking)
}

// ask discovers the place of the keys, and reads them.
func (k *keys) ask(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, err
	}
	var at struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&at); err != nil {
		return nil, err
	}
	u, err := url.Parse(at.URL)
	if err == nil {
		err = checkFrom(k.issuer, u)
	}
	if err != nil {
		return nil, fmt.Errorf("the address of the keys: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL, nil)
	if err != nil {
		return nil, err
	}
	answer, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the keys: %s", answer.Status)
	}
	return parseKeys(text)
}

// parseKeys reads a JWKS (RFC 7517). Keys that are of no use here are passed over.
func parseKeys(text []byte) (good []jose.JSONWebKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, more than %d", len(set.Keys), maxKeys)
	}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || key.Use != "" && key.Use != "sig" ||
			key.Algorithm != "" && !slices.Contains(algorithms, key.Algorithm) {
			continue
		}
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
			if public.N.BitLen() < minRSA {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue // a shared secret, or a private key that should not be there
		}
		good = append(good, key)
	}
	if len(good) == 0 {
		return nil, errors.New("none of its keys is of use")
	}
	return good, nil
}

// limited reads so much of each answer, and no more.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{&failing{answer.Body, maxDocument}, answer.Body}
	}
	return answer, err
}

// failing fails where more than left comes: what was cut off may still be JSON.
type failing struct {
	from io.Reader
	left int
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.from.Read(b[:min(len(b), f.left+1)])
	if f.left -= n; f.left < 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", maxDocument)
	}
	return n, err
}

func client(transport http.RoundTripper, issuer string) *http.Client {
	return &http.Client{Transport: limited{transport}, Timeout: fetchTime, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("more than 3 redirects")
		}
		return checkFrom(issuer, r.URL)
	}}
}

// checkFrom refuses an address that an issuer gives whose keys could be changed on the way, or
// which leads an issuer elsewhere to what listens on this machine alone.
func checkFrom(issuer string, u *url.URL) error {
	from, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	if isLocal(u) && !isLocal(from) {
		return errors.New("it is on this machine, and the issuer is not")
	}
	return checkURL(u)
}

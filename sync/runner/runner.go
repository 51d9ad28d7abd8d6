// Package runner finds out who a CI job is: runners give jobs a short-lived ID token, which
// a cache takes in the place of a secret.
package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A Runner gives ID tokens to this job.
type Runner struct {
	Name  string // for people
	fetch func(ctx context.Context, audience string) (string, error)
}

const (
	maxAnswer = 64 << 10 // bytes
	stall     = 20 * time.Second
)

// Find returns the runner of this job, nil if there is none that gives tokens: a job of a
// fork has none, for example.
//
//	ACTIONS_ID_TOKEN_REQUEST_URL, …_TOKEN   GitHub, Forgejo and Gitea Actions, with permission
//	                                        id-token: write
//	NIXSTATIC_ID_TOKEN                      the token itself: GitLab's id_tokens, and any other
//	NIXSTATIC_ID_TOKEN_FILE                 a file with it, as Kubernetes projects one
func Find(getenv func(string) string) *Runner {
	if raw := getenv("NIXSTATIC_ID_TOKEN"); raw != "" {
		return &Runner{"NIXSTATIC_ID_TOKEN", func(context.Context, string) (string, error) { return check(raw) }}
	}
	if file := getenv("NIXSTATIC_ID_TOKEN_FILE"); file != "" {
		return &Runner{"NIXSTATIC_ID_TOKEN_FILE", func(context.Context, string) (string, error) {
			f, err := os.Open(file)
			if err != nil {
				return "", err
			}
			defer f.Close()
			text, err := io.ReadAll(io.LimitReader(f, maxAnswer))
			if err != nil {
				return "", err
			}
			return check(string(text))
		}}
	}
	at, secret := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if at == "" || secret == "" {
		return nil
	}
	return &Runner{"the runner of this job", func(ctx context.Context, audience string) (raw string, err error) {
		u, err := url.Parse(at)
		if err != nil {
			return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
		}
		query := u.Query()
		query.Set("audience", audience)
		u.RawQuery = query.Encode()
		err = persist(ctx, func() (again bool, err error) {
			raw, again, err = request(ctx, u.String(), secret)
			return again, err
		})
		return raw, err
	}}
}

// request asks the runner of a job once.
func request(ctx context.Context, at, secret string) (raw string, again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", false, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Accept", "application/json")
	status, text, err := do(r)
	if err != nil {
		return "", netx.MayPass(err), err
	}
	if status != http.StatusOK {
		return "", passes(status), fmt.Errorf("the runner gives no token: %d %s", status, http.StatusText(status))
	}
	var answer struct{ Value string }
	if json.Unmarshal(text, &answer) != nil {
		return "", false, errors.New("the runner gives no token: it answers with something else")
	}
	raw, err = check(answer.Value)
	return raw, false, err
}

// passes reports whether a server that answers with a status may answer otherwise later.
func passes(status int) bool { return status >= 500 || status == http.StatusTooManyRequests }

// persist tries up to four times within half a minute or so.
func persist(ctx context.Context, try func() (again bool, err error)) error {
	begun := time.Now()
	for attempt := 0; ; attempt++ {
		again, err := try()
		if err == nil || !again || attempt == 3 || time.Since(begun) > stall/2 {
			return err
		}
		if err := netx.Sleep(ctx, time.Second<<attempt); err != nil {
			return err
		}
	}
}

// Token returns an ID token for an audience. A runner that gives the token itself chose the
// audience before.
func (r *Runner) Token(ctx context.Context, audience string) (string, error) {
	raw, err := r.fetch(ctx, audience)
	if err != nil {
		return "", fmt.Errorf("get an ID token from %s: %w", r.Name, err)
	}
	return raw, nil
}

func check(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if strings.Count(raw, ".") != 2 || strings.ContainsAny(raw, " \t\r\n") {
		return "", errors.New("it is not an ID token")
	}
	return raw, nil
}

// A Pass is what a cache gives for an ID token.
type Pass struct {
	Token string // a secret
	Until time.Time
	Roots string // patterns parted by commas; "": it may upload without a root
}

// ErrNone says that a cache takes no ID tokens.
var ErrNone = errors.New("the cache takes no ID tokens")

// A RefusedError says that a cache does not let this job in, and why.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "the cache does not let this job in: " + e.Why }

// Audience returns what tokens for a cache are made out to: its scheme, host and port.
func Audience(cache string) (string, error) {
	u, err := url.Parse(cache)
	if err != nil {
		return "", errors.New("the URL of the cache cannot be read")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return "", errors.New("an ID token is sent over https:// alone")
	}
	return u.Scheme + "://" + u.Host, nil
}

// Exchange shows an ID token to the cache at a URL (RFC 8693).
func Exchange(ctx context.Context, cache, raw string) (Pass, error) {
	if _, err := Audience(cache); err != nil {
		return Pass{}, err
	}
	u, err := url.Parse(cache)
	if err != nil {
		return Pass{}, err
	}
	u.User, u.RawQuery, u.Fragment = nil, "token", ""
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}, "subject_token": {raw}}
	var pass Pass
	err = persist(ctx, func() (again bool, err error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return false, err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		pass, again, err = exchange(r)
		return again, err
	})
	return pass, err
}

func exchange(r *http.Request) (pass Pass, again bool, err error) {
	now := time.Now()
	status, text, err := do(r)
	if err != nil {
		return pass, netx.MayPass(err), err
	}
	var answer struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Roots   string
		Error   string
		Why     string `json:"error_description"`
	}
	isJSON := json.Unmarshal(text, &answer) == nil
	switch {
	case status == http.StatusOK && isJSON && strings.HasPrefix(answer.Token, "nst_"):
		return Pass{answer.Token, now.Add(time.Duration(min(answer.Expires, 1e6)) * time.Second), answer.Roots}, false, nil
	case passes(status):
		return pass, true, fmt.Errorf("the cache does not take the ID token now: %d %s", status, answer.Why)
	case isJSON && answer.Error != "":
		return pass, false, &RefusedError{answer.Why}
	}
	return pass, false, ErrNone
}

// do makes a request, and follows no redirect: a secret is for the server that was named.
func do(r *http.Request) (status int, text []byte, err error) {
	transport := netx.NewTransport(netx.Config{Stall: stall, Connections: 1, CAFile: os.Getenv("NIX_SSL_CERT_FILE")})
	client := &http.Client{Transport: transport, Timeout: 2 * stall, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	r.Header.Set("User-Agent", "nixstatic/"+netx.Version())
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, netx.WithoutURL(err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, bytes.TrimSpace(text), err
}

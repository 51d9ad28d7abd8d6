package token

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nixstatic/nixstatic/webdav"
)

type fixture struct {
	auth                        *Auth
	file                        string
	clock                       time.Time
	log                         *bytes.Buffer
	read, upload, admin, expire string // secrets
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{file: filepath.Join(t.TempDir(), "tokens"), clock: time.Now(), log: &bytes.Buffer{}}
	for name, secret := range map[string]*string{"read": &f.read, "upload": &f.upload, "admin": &f.admin, "expire": &f.expire} {
		scope, until := map[string]webdav.Scope{"read": webdav.Read, "upload": webdav.Upload, "admin": webdav.Admin, "expire": webdav.Upload}[name], time.Time{}
		if name == "expire" {
			until = f.clock.Add(time.Hour)
		}
		var token Token
		token, *secret = newToken(t, name, scope, until)
		if err := Add(f.file, token); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(f.log, nil))
	tokens, err := OpenFile(f.file, log)
	if err != nil {
		t.Fatal(err)
	}
	f.auth = &Auth{Tokens: tokens, Log: log, now: func() time.Time { return f.clock }}
	return f
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// status returns 200 where the request is allowed.
func status(t *testing.T, a *Auth, need webdav.Scope, set ...func(*http.Request)) int {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	for _, s := range set {
		s(r)
	}
	_, err := a.Authorize(r, need)
	if err == nil {
		return 200
	}
	var refused *webdav.AuthError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if (refused.Status == 401) != (refused.Challenge != "") {
		t.Errorf("status %d with the challenge %q", refused.Status, refused.Challenge)
	}
	if refused.Msg == "" || len(refused.Msg) > 300 || strings.ContainsAny(refused.Msg, "\r\n") {
		t.Errorf("status %d says %q", refused.Status, refused.Msg)
	}
	return refused.Status
}

func TestAuthorize(t *testing.T) {
	f := newFixture(t)
	open := f.auth
	private := &Auth{Tokens: open.Tokens, Private: true, Log: open.Log}
	trusting := &Auth{AnonymousUpload: true, Log: open.Log}
	both := &Auth{Tokens: open.Tokens, AnonymousUpload: true, Private: true, Log: open.Log}
	bare := &Auth{Log: open.Log}
	wrong := "nst_" + strings.Repeat("A", 43)
	none := func(*http.Request) {}
	for _, test := range []struct {
		name                string
		auth                *Auth
		set                 func(*http.Request)
		read, upload, admin int
	}{
		{"nothing shown", open, none, 200, 401, 401},
		{"nothing shown, private", private, none, 401, 401, 401},
		{"nothing shown, anonymous uploads", trusting, none, 200, 200, 403},
		{"nothing shown, private, anonymous uploads", both, none, 401, 200, 401},
		{"nothing shown, no tokens", bare, none, 200, 403, 403},
		{"a read token", open, basic("x", f.read), 200, 403, 403},
		{"a read token, private", private, basic("x", f.read), 200, 403, 403},
		{"an upload token", open, basic("ci", f.upload), 200, 200, 403},
		{"an upload token, private", private, basic("ci", f.upload), 200, 200, 403},
		{"an admin token", open, basic("", f.admin), 200, 200, 200},
		{"Bearer", private, header("Authorization", "Bearer "+f.upload), 200, 200, 403},
		{"bearer in lower case", private, header("Authorization", "bearer  "+f.upload), 200, 200, 403},
		{"the token as the name", private, basic(f.upload, ""), 200, 200, 403},
		{"a token that is not known", private, basic("ci", wrong), 401, 401, 401},
		{"a token that is not known, anonymous reads", open, basic("ci", wrong), 200, 401, 401},
		{"a password of another kind", private, basic("ci", "hunter2"), 401, 401, 401},
		{"a token and a byte", private, basic("ci", f.upload+"A"), 401, 401, 401},
		{"a token without a byte", private, basic("ci", f.upload[:46]), 401, 401, 401},
		{"a hash for a token", private, basic("ci", "sha256:"+strings.Repeat("0", 64)), 401, 401, 401},
		{"empty Basic", private, basic("", ""), 401, 401, 401},
		{"Basic that is no base64", private, header("Authorization", "Basic !!!"), 401, 401, 401},
		{"another scheme", private, header("Authorization", "Digest "+f.upload), 401, 401, 401},
		{"a token, no tokens", bare, basic("ci", f.upload), 200, 403, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := []int{status(t, test.auth, webdav.Read, test.set), status(t, test.auth, webdav.Upload, test.set), status(t, test.auth, webdav.Admin, test.set)}
			if diff := cmp.Diff([]int{test.read, test.upload, test.admin}, got); diff != "" {
				t.Errorf("read, upload, admin (-want +got):\n%s", diff)
			}
		})
	}
	for _, secret := range []string{f.read, f.upload, f.admin, wrong, "hunter2"} {
		if strings.Contains(f.log.String(), secret) {
			t.Errorf("the log holds a secret:\n%s", f.log)
		}
	}
}

// Everyone may know that there is a cache, but of a private one.
func TestAuthorizeDescription(t *testing.T) {
	f := newFixture(t)
	private := &Auth{Tokens: f.auth.Tokens, Private: true, Log: f.auth.Log}
	at := func(method, path string) func(*http.Request) {
		return func(r *http.Request) { r.Method, r.URL.Path = method, path }
	}
	for _, test := range []struct {
		auth         *Auth
		method, path string
		want         int
	}{
		{f.auth, "GET", "/upload/nix-cache-info", 200},
		{f.auth, "HEAD", "/upload/nix-cache-info", 200},
		{f.auth, "PUT", "/upload/nix-cache-info", 401},
		{f.auth, "GET", "/upload/nix-cache-info/", 401},
		{f.auth, "GET", "/upload/x.narinfo", 401},
		{private, "GET", "/upload/nix-cache-info", 401},
	} {
		if got := status(t, test.auth, webdav.Upload, at(test.method, test.path)); got != test.want {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, got, test.want)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	f := newFixture(t)
	if got := status(t, f.auth, webdav.Upload, basic("x", f.expire)); got != 200 {
		t.Errorf("before its time: %d", got)
	}
	f.clock = f.clock.Add(time.Hour)
	if got := status(t, f.auth, webdav.Upload, basic("x", f.expire)); got != 401 {
		t.Errorf("after its time: %d", got)
	}
}

func TestClientAddr(t *testing.T) {
	a := &Auth{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	local := &Auth{TrustLocal: true}
	for _, test := range []struct {
		name    string
		auth    *Auth
		remote  string
		headers []string
		want    string
	}{
		{"the peer", a, "192.0.2.1:1", nil, "192.0.2.1"},
		{"a stranger's word", a, "192.0.2.1:1", []string{"198.51.100.1"}, "192.0.2.1"},
		{"a proxy's word", a, "10.1.1.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"an address that is written as IPv6", a, "[::ffff:10.1.1.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"what the client put before it", a, "10.1.1.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", a, "10.1.1.1:1", []string{"203.0.113.9", "198.51.100.1, 10.2.2.2"}, "198.51.100.1"},
		{"rubbish", a, "10.1.1.1:1", []string{"unknown"}, "10.1.1.1"},
		{"rubbish behind a proxy", a, "10.1.1.1:1", []string{"x, 10.2.2.2"}, "10.2.2.2"},
		{"a proxy that says nothing", a, "10.1.1.1:1", nil, "10.1.1.1"},
		{"with a port", a, "[::1]:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"a Unix socket", a, "@", []string{"198.51.100.1"}, "invalid IP"},
		{"a Unix socket that is trusted", local, "@", []string{"198.51.100.1"}, "198.51.100.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.remote
		for _, h := range test.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		if got := test.auth.ClientAddr(r).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The cost of each request that shows a token.
func BenchmarkAuthorize(b *testing.B) {
	file := filepath.Join(b.TempDir(), "tokens")
	token, secret := newToken(b, "ci", webdav.Upload, time.Time{})
	if err := Add(file, token); err != nil {
		b.Fatal(err)
	}
	tokens, err := OpenFile(file, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := &Auth{Tokens: tokens}
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth("ci", secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authorize(r, webdav.Upload); err != nil {
			b.Fatal(err)
		}
	}
}

package token

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
)

func newMint(t testing.TB, rules ...string) *Mint {
	t.Helper()
	return NewMint([]byte("a secret of the servers"), func(rule string) bool {
		for _, r := range rules {
			if r == rule {
				return true
			}
		}
		return false
	})
}

func identity(until time.Time) Identity {
	return Identity{Rule: "r1", Name: "oidc:repo", Scopes: []webdav.Scope{webdav.Upload}, Roots: []layout.RootPattern{"acme/*"}, Until: until.Truncate(time.Second).UTC()}
}

func TestMint(t *testing.T) {
	want := identity(time.Now().Add(time.Hour))
	secret, err := newMint(t, "r1").Make(want)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Trim(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || !strings.HasPrefix(secret, "nst_x") {
		t.Errorf("%q is not hidden in logs, or not fit for a netrc", secret)
	}
	got, ok := newMint(t, "r1").open(secret) // that of another server
	if diff := cmp.Diff(Token{Name: want.Name, Scopes: want.Scopes, Roots: want.Roots, Until: want.Until}, got); !ok || diff != "" {
		t.Errorf("%v\n%s", ok, diff)
	}
	for name, m := range map[string]*Mint{"a rule that is gone": newMint(t, "r2"),
		"another secret": NewMint([]byte("another"), func(string) bool { return true }),
		"no secret":      NewMint(nil, func(string) bool { return true })} {
		if _, ok := m.open(secret); ok {
			t.Errorf("%s: it is good", name)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, exchangedPrefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] ^= 1
		if _, ok := newMint(t, "r1").open(exchangedPrefix + base64.RawURLEncoding.EncodeToString(raw)); ok {
			t.Errorf("with byte %d changed it is good", i)
		}
		raw[i] ^= 1
	}
	long := identity(time.Now())
	for range 100 {
		long.Roots = append(long.Roots, layout.RootPattern(strings.Repeat("x", 100)))
	}
	if _, err := newMint(t, "r1").Make(long); err == nil {
		t.Error("a token that no netrc can hold was made")
	}
}

func FuzzMintOpen(f *testing.F) {
	m := NewMint([]byte("k"), func(string) bool { return true })
	secret, err := m.Make(identity(time.Unix(2e9, 0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(secret)
	f.Add(exchangedPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := m.open(text); ok && text != secret {
			t.Errorf("%q is good", text)
		}
	})
}

var errDown = errors.New("down")

// exchanger is a server that takes the tokens "good" and "slow".
func exchanger(t testing.TB, a *Auth) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(exchangeHandler(t, a))
	t.Cleanup(s.Close)
	return s
}

func exchangeHandler(t testing.TB, a *Auth) http.Handler {
	t.Helper()
	a.Exchange = &Exchange{Mint: newMint(t, "r1"), Unavailable: errDown, Most: 2, Verify: func(ctx context.Context, raw string) (Identity, error) {
		switch raw {
		case "good":
			return identity(time.Now().Add(time.Hour)), nil
		case "down":
			return Identity{}, fmt.Errorf("the issuer is away: %w", errDown)
		case "slow":
			<-ctx.Done()
			return Identity{}, errDown
		}
		return Identity{}, errors.New("its claim is not what a rule wants")
	}}
	return a.Handler("/upload/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "next") }))
}

func exchange(t testing.TB, url string, form url.Values) (status int, body string) {
	t.Helper()
	answer, err := http.PostForm(url, form)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func form(raw string) url.Values {
	return url.Values{"grant_type": {grantType}, "subject_token_type": {idTokenType}, "subject_token": {raw}}
}

func TestExchange(t *testing.T) {
	f := newFixture(t)
	s := exchanger(t, f.auth)
	for _, at := range []string{"/?token", "/upload/?token", "/upload/root/acme/app/1/?token"} {
		code, body := exchange(t, s.URL+at, form("good"))
		var got exchangeResult
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		if got.Version != 1 || got.Type != "Bearer" || got.Expires < 3590 || got.Scope != "upload" || got.Roots != "acme/*" {
			t.Errorf("%+v", got)
		}
		if got := status(t, f.auth, webdav.Admin, basic("oidc", got.Token)); got != 403 {
			t.Errorf("admin: %d", got)
		}
		if got := status(t, f.auth, webdav.Upload, basic("oidc", got.Token)); got != 403 {
			t.Errorf("an upload without its root: %d", got)
		}
		f.clock = time.Now().Add(2 * time.Hour)
		if got := status(t, f.auth, webdav.Upload, basic("oidc", got.Token)); got != 401 {
			t.Errorf("when it has expired: %d", got)
		}
		f.clock = time.Now()
		if strings.Contains(f.log.String(), got.Token) {
			t.Error("the log has the token")
		}
	}
	without := func(name string) url.Values { v := form("good"); v.Del(name); return v }
	for name, test := range map[string]struct {
		form url.Values
		want int
	}{
		"bad": {form("bad"), 403}, "down": {form("down"), 503}, "no token": {without("subject_token"), 400}, "no grant": {without("grant_type"), 400},
		"no type": {without("subject_token_type"), 400}, "large": {form(strings.Repeat("x", maxForm)), 400}, "nothing": {nil, 400},
	} {
		if code, body := exchange(t, s.URL+"/?token", test.form); code != test.want || !strings.Contains(body, `"error"`) {
			t.Errorf("%s: %d %s, want %d", name, code, body, test.want)
		}
	}
	for _, at := range []string{"/?token=1", "/x?token", "/upload?token", "/?missing"} {
		if code, body := exchange(t, s.URL+at, form("good")); code != 200 || body != "next" {
			t.Errorf("%s: %d %s", at, code, body)
		}
	}
	for range failureBurst {
		exchange(t, s.URL+"/?token", form("bad"))
	}
	if code, _ := exchange(t, s.URL+"/?token", form("bad")); code != 429 {
		t.Errorf("after many: %d", code)
	}
	if code, _ := exchange(t, s.URL+"/?token", form("good")); code != 200 {
		t.Errorf("a good one after many bad ones: %d", code)
	}
}

// A network whose tokens take their time, or whose bodies do, has its share of the turns:
// another one is served at once, and the network itself afterwards.
func TestExchangeTurns(t *testing.T) {
	for name, body := range map[string]func(context.Context) io.Reader{
		"issuers": func(context.Context) io.Reader { return strings.NewReader(form("slow").Encode()) },
		"bodies":  func(ctx context.Context) io.Reader { return stalled{ctx} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &Auth{Log: slog.New(slog.DiscardHandler)}
				handler := exchangeHandler(t, a)
				ask := func(ctx context.Context, from string, body io.Reader) int {
					r := httptest.NewRequestWithContext(ctx, "POST", "/?token", body)
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					r.RemoteAddr = from + ":1"
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					return w.Code
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				for range 10 {
					go ask(ctx, "192.0.2.1", body(ctx))
				}
				synctest.Wait()
				good := func(from string) int { return ask(t.Context(), from, strings.NewReader(form("good").Encode())) }
				if code := good("192.0.2.2"); code != 200 {
					t.Errorf("another network: %d", code)
				}
				if code := good("192.0.2.1"); code != 503 {
					t.Errorf("one more of the same: %d", code)
				}
				stop()
				synctest.Wait()
				if code := good("192.0.2.1"); code != 200 {
					t.Errorf("afterwards: %d", code)
				}
			})
		})
	}
}

// A stalled body brings nothing.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// The times of use are written down beside the file, and merged with those of others.
func TestUsed(t *testing.T) {
	f := newFixture(t)
	if got := status(t, f.auth, webdav.Upload, basic("x", f.upload)); got != 200 {
		t.Fatal(got)
	}
	if got := status(t, f.auth, webdav.Admin, basic("x", f.read)); got != 403 {
		t.Fatal(got)
	}
	if err := f.auth.Tokens.writeUsed(); err != nil {
		t.Fatal(err)
	}
	other, err := OpenFile(f.file, nil)
	if err != nil {
		t.Fatal(err)
	}
	other.use("admin", f.clock.Add(time.Hour))
	other.use("upload", f.clock.Add(-time.Hour))
	other.use("revoked", f.clock)
	if err := other.writeUsed(); err != nil {
		t.Fatal(err)
	}
	at := f.clock.UTC().Truncate(time.Second)
	if diff := cmp.Diff(map[string]time.Time{"upload": at, "admin": at.Add(time.Hour)}, Used(f.file)); diff != "" {
		t.Error(diff)
	}
}

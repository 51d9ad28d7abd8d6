//go:build real

package mirror_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// session returns temporary credentials of the real store.
func (w *world) session(t *testing.T) credentials.Value {
	t.Helper()
	creds, err := credentials.NewSTSAssumeRole(w.store.Endpoint, credentials.STSAssumeRoleOptions{
		AccessKey: w.store.AccessKey, SecretKey: w.store.SecretKey, DurationSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	value, err := creds.GetWithContext(&credentials.CredContext{Client: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// A gatekeeper stands before the store and turns credentials away from their
// nth request on, with what Amazon answers then.
type gatekeeper struct {
	*httptest.Server
	key, code string
	after     int
	closed    func() // is called with the first refusal

	mu    sync.Mutex
	asked int
}

func keepGate(t *testing.T, w *world, key, code string, after int) *gatekeeper {
	t.Helper()
	target, err := url.Parse(w.store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := &gatekeeper{key: key, code: code, after: after}
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.refuses(r) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>These are not taken any more.</Message></Error>", g.code)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gatekeeper) refuses(r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.Contains(r.Header.Get("Authorization"), "Credential="+g.key+"/") {
		return false
	}
	g.asked++
	if g.asked == g.after && g.closed != nil {
		g.closed()
	}
	return g.asked >= g.after
}

// through returns the URL of a bucket behind the gate.
func (g *gatekeeper) through(w *world, url string) string {
	return strings.Replace(url, w.store.Endpoint[len("http://"):], g.URL[len("http://"):], 1)
}

// bare is a command without any credentials but those that are given.
func (w *world) bare(t *testing.T, env []string, args ...string) nixtest.Result {
	t.Helper()
	cmd := w.command(t, args...)
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
	cmd.Env = append(cmd.Env, env...)
	return nixtest.Wait(t, cmd)
}

// TestCredentialsExpire: those that come from where there may be new ones are
// asked for again in the middle of a run.
func TestCredentialsExpire(t *testing.T) {
	w := newWorld(t)
	src := treetest.OpenDir(t, w.dir)
	first, second := w.session(t), w.session(t)
	t.Run("a container's role", func(t *testing.T) {
		bucketURL, bucket := w.bucket(t)
		gate := keepGate(t, w, first.AccessKeyID, "ExpiredToken", 12)
		given := 0
		role := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			v := first
			if given++; given > 1 {
				v = second
			}
			fmt.Fprintf(out, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": %q, "Expiration": %q}`,
				v.AccessKeyID, v.SecretAccessKey, v.SessionToken, time.Now().Add(time.Hour).Format(time.RFC3339))
		}))
		defer role.Close()
		w.bare(t, []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + role.URL}, "sync", w.dir, gate.through(w, bucketURL)).Want(t, 0)
		treetest.Equal(t, src, bucket)
		if given != 2 {
			t.Errorf("the role was asked %d times", given)
		}
	})
	t.Run("a role's that are about to", func(t *testing.T) {
		bucketURL, bucket := w.bucket(t)
		given := 0
		role := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			given++
			fmt.Fprintf(out, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": %q, "Expiration": %q}`,
				first.AccessKeyID, first.SecretAccessKey, first.SessionToken, time.Now().Add(time.Second).Format(time.RFC3339))
		}))
		defer role.Close()
		w.bare(t, []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + role.URL}, "sync", "--bandwidth", "200kB", w.dir, bucketURL).Want(t, 0)
		treetest.Equal(t, src, bucket)
		if given < 2 {
			t.Error("the role was asked once")
		}
	})
	t.Run("a file that is written anew", func(t *testing.T) {
		bucketURL, bucket := w.bucket(t)
		file := filepath.Join(t.TempDir(), "credentials")
		write := func(v credentials.Value) {
			text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", v.AccessKeyID, v.SecretAccessKey, v.SessionToken)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
		write(first)
		gate := keepGate(t, w, first.AccessKeyID, "InvalidAccessKeyId", 12)
		gate.closed = func() { write(second) }
		w.bare(t, []string{"AWS_SHARED_CREDENTIALS_FILE=" + file}, "sync", w.dir, gate.through(w, bucketURL)).Want(t, 0)
		treetest.Equal(t, src, bucket)
	})
	t.Run("those of the environment", func(t *testing.T) {
		bucketURL, bucket := w.bucket(t)
		gate := keepGate(t, w, first.AccessKeyID, "ExpiredToken", 12)
		environment := func(v credentials.Value) []string {
			return []string{"AWS_ACCESS_KEY_ID=" + v.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + v.SecretAccessKey, "AWS_SESSION_TOKEN=" + v.SessionToken}
		}
		stop := readAllTheWhile(t, bucket)
		r := w.bare(t, environment(first), "sync", w.dir, gate.through(w, bucketURL)).Refused(t, "ExpiredToken")
		wantHint(t, r, "run out")
		// The finished objects are there, and the next run goes on.
		w.bare(t, environment(second), "sync", w.dir, gate.through(w, bucketURL)).Want(t, 0)
		stop()
		treetest.Equal(t, src, bucket)
	})
}

// TestRefused: what is wrong with a store is told with what to do about it.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	bucketURL, _ := w.bucket(t)
	for _, c := range []struct {
		name        string
		env         []string
		url         string
		error, hint string
	}{
		{"an unknown key", []string{"AWS_ACCESS_KEY_ID=nobody-we-know", "AWS_SECRET_ACCESS_KEY=whatever-it-is"}, bucketURL, "from the environment", "the credentials are wrong"},
		{"a wrong secret", []string{"AWS_ACCESS_KEY_ID=" + w.store.AccessKey, "AWS_SECRET_ACCESS_KEY=not-it-by-far"}, bucketURL, "SignatureDoesNotMatch", "the credentials are wrong"},
		{"no credentials", nil, bucketURL, "AccessDenied", "AWS_ACCESS_KEY_ID"},
		{"no bucket", []string{"AWS_ACCESS_KEY_ID=" + w.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + w.store.SecretKey},
			strings.Replace(bucketURL, "s3://mirror-", "s3://nothing-", 1), "does not exist", "nixstatic init"},
	} {
		for _, args := range [][]string{{"sync", w.dir, c.url}, {"sync", c.url, filepath.Join(t.TempDir(), "new")}} {
			r := w.bare(t, c.env, args...).Refused(t, c.error)
			wantHint(t, r, c.hint)
			if strings.Contains(r.Stderr, "not-it-by-far") {
				t.Errorf("%s: the secret is printed", c.name)
			}
		}
	}
}

func wantHint(t *testing.T, r nixtest.Result, words string) {
	t.Helper()
	for line := range strings.Lines(r.Stderr) {
		if strings.HasPrefix(line, "nixstatic: hint: ") && strings.Contains(line, words) {
			return
		}
	}
	t.Errorf("no hint holds %q:\n%s", words, r.Stderr)
}

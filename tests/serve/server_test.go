//go:build real

package serve_test

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// A server is a nixstatic serve that runs.
type server struct {
	URL     string // where readers read
	Metrics string // URL of /metrics and /healthz
	Tree    string
	Key     nixtest.Key
	Tokens  string // the file
	Token   string // one that may upload

	cmd    *exec.Cmd
	log    *nixtest.Buffer
	exited bool
	errors []string // that the log may have
}

// start runs serve for a new tree, with a key and a token, until the test ends.
// More arguments come last.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	p, dir := newest(t), t.TempDir()
	s := &server{Tree: filepath.Join(dir, "cache"), Key: p.NewKey(t, "serve.example.org-1"), Tokens: filepath.Join(dir, "tokens")}
	s.Token = s.newToken(t, "ci", "upload")
	s.run(t, "127.0.0.1:0", args...)
	return s
}

// newToken makes a token. No output of the server may ever hold it.
func (s *server) newToken(t testing.TB, name, scope string) string {
	t.Helper()
	token := newest(t).Output(t, "token", "create", "--file", s.Tokens, "--name", name, "--scope", scope)
	if s.cmd != nil && !s.exited { // the server looks at the file once a second
		until(t, "the new token is known", func() bool {
			time.Sleep(100 * time.Millisecond) // wrong tokens are limited
			status, _ := get(t, s.URL+"/upload/0.narinfo", "Authorization", "Bearer "+token)
			return status != 401
		})
	}
	return token
}

// run starts the server, on its tree as it is.
func (s *server) run(t testing.TB, listen string, args ...string) {
	t.Helper()
	if !strings.HasPrefix(s.Tree, "s3://") {
		args = append([]string{"--min-free", "0"}, args...)
		var storeDir []string
		if i := slices.Index(args, "--store-dir"); i >= 0 {
			storeDir = args[i : i+2]
		}
		nixtest.Init(t, s.Tree, storeDir...)
	}
	args = append([]string{"serve", s.Tree, "--listen", listen, "--metrics-listen", "127.0.0.1:0", "-k", s.Key.File}, args...)
	if s.Tokens != "" {
		args = append(args, "--tokens", s.Tokens)
	}
	s.runAs(t, args...)
}

// runAs starts the server with these arguments and no others.
func (s *server) runAs(t testing.TB, args ...string) {
	t.Helper()
	s.cmd = newest(t).Command(t, args...)
	s.log, s.exited = &nixtest.Buffer{}, false
	s.cmd.Stderr = s.log
	s.URL = nixtest.Listen(t, s.cmd)
	t.Cleanup(func() {
		if !s.exited {
			s.wait(t)
		}
	})
	if slices.Contains(args, "--metrics-listen") && !slices.Contains(args, "json") {
		s.Metrics = nixtest.Metrics(t, s.log)
	}
}

// address is the host and port of the server.
func (s *server) address(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// upload is the URL to upload to, with the token in it. Query is that of Nix's
// store URLs.
func (s *server) upload(query ...string) string {
	u := strings.Replace(s.URL, "://", "://ci:"+s.Token+"@", 1) + "/upload"
	if len(query) > 0 {
		u += "?" + strings.Join(query, "&")
	}
	return u
}

// stop ends the server as systemd would, and checks that it ends well and has
// kept its secrets.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.wait(t)
}

func (s *server) wait(t testing.TB) {
	t.Helper()
	err := s.cmd.Wait()
	s.exited = true
	if err != nil {
		t.Errorf("serve ends with %v\n%s", err, s.log)
	}
	if s.Token != "" && strings.Contains(s.log.String(), s.Token) {
		t.Errorf("the log holds a token:\n%s", s.log)
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "level=ERROR") && !slices.ContainsFunc(s.errors, func(e string) bool { return strings.Contains(line, e) }) {
			t.Errorf("the log has an error: %s", line)
		}
	}
}

// allowErrors says what the log must have errors of, and may.
func (s *server) allowErrors(t testing.TB, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(s.log.String(), w) {
			t.Errorf("the log does not tell of %q:\n%s", w, s.log)
		}
	}
	s.errors = words
}

// kill ends the server at once.
func (s *server) kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	s.cmd.Wait()
	s.exited = true
}

// until waits for something to become true, and fails the test if it does not.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute: %s", what)
		}
	}
}

// metric returns the lines of /metrics that begin with a name.
func (s *server) metric(t testing.TB, name string) []string {
	t.Helper()
	status, body := get(t, s.Metrics+"/metrics")
	if status != 200 {
		t.Fatalf("/metrics: status %d", status)
	}
	var found []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// Package gitea starts the real Gitea server for tests. tests/gitea.sh builds it from
// the module that tests/gitea/server pins.
package gitea

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const remedy = "run `make test` (or tests/gitea.sh), which builds it"

// patience is how long a server may take to become ready on a busy machine.
const patience = 3 * time.Minute

// A Server is a running Gitea with a database of its own, which ends with the test. It
// has one user, who may do anything.
type Server struct {
	Host     string // 127.0.0.1:port
	User     string
	Password string
	Token    string // of the user, for packages

	program, config string
}

// Start runs a server until the test ends. More settings are lines of app.ini, such as
// "[packages]", "LIMIT_SIZE_GENERIC = 1 MiB".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	cache := os.Getenv("NIXSTATIC_TEST_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "nixstatic-tests")
	}
	s := &Server{User: "acme", Password: "not-much-of-a-secret", program: filepath.Join(cache, "gitea", "gitea")}
	if _, err := os.Stat(s.program); err != nil {
		t.Fatalf("no Gitea: %v: %s", err, remedy)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Host = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(s.Host)
	dir := t.TempDir()
	s.config = filepath.Join(dir, "app.ini")
	user := os.Getenv("USER")
	if os.Geteuid() == 0 {
		user = "root"
	}
	config := fmt.Sprintf(`I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
RUN_USER = %s
WORK_PATH = %s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %s
ROOT_URL = http://%s/
STATIC_ROOT_PATH = %s
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = 0123456789012345678901234567890123456789
INTERNAL_TOKEN = eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYmYiOjE3MDAwMDAwMDB9.x5RkM5yzFq0v3Jg8eS1oYd0yGmQk0Vb4m3mB8r1u2aM
[log]
MODE = console
LEVEL = warn
[service]
DISABLE_REGISTRATION = true
[cron]
ENABLED = false
%s
`, user, dir, port, s.Host, filepath.Join(cache, "gitea", "static"), strings.Join(settings, "\n"))
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, "migrate")
	s.run(t, "admin", "user", "create", "--admin=false", "--must-change-password=false", "--username", s.User, "--password", s.Password, "--email", "acme@example.org")
	s.Token = s.run(t, "admin", "user", "generate-access-token", "--username", s.User, "--token-name", "tests", "--scopes", "write:package,read:user,write:organization,write:user", "--raw")
	s.serve(t)
	return s
}

// run runs a command of the program, and returns the last line that it says.
func (s *Server) run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(s.program, append([]string{"--config", s.config}, args...)...)
	cmd.Env = s.environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gitea %q: %v\n%s%s", args, err, out, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func (s *Server) environ() []string {
	return append(os.Environ(), "GITEA_WORK_DIR="+filepath.Dir(s.config), "HOME="+filepath.Dir(s.config))
}

func (s *Server) serve(t testing.TB) {
	t.Helper()
	var log bytes.Buffer // read once the program has ended
	cmd := exec.Command(s.program, "--config", s.config, "web")
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.environ(), &log, &log, withUs()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-exited })
	client := &http.Client{Timeout: 5 * time.Second}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatalf("Gitea ends:\n%s", log.String())
		default:
		}
		resp, err := client.Get("http://" + s.Host + "/api/healthz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	cmd.Process.Kill()
	<-exited
	t.Fatalf("Gitea does not become ready:\n%s", log.String())
}

// Registry is the tree in a version of a package of the user.
func (s *Server) Registry(name, version string) string {
	return "gitea+http://" + s.Host + "/" + s.User + "/" + name + "?version=" + version
}

// Cache is where clients read that.
func (s *Server) Cache(name, version string) string {
	return "http://" + s.Host + "/api/packages/" + s.User + "/generic/" + name + "/" + version
}

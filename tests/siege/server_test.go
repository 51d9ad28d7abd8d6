//go:build real

package siege_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

const (
	openFiles  = 256
	mostMemory = 512 << 20
)

// lasts is how long a siege takes: make siege says longer.
func lasts(t testing.TB, short time.Duration) time.Duration {
	text := os.Getenv("SIEGE")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A server is a nixstatic serve that may open few files.
type server struct {
	url, address string
	tree         string
	ca           string // a file with the authority of its certificate; "" without TLS
	key          nixtest.Key
	tokens       map[string]string // by name
	cmd          *exec.Cmd
	log          string
	besieged     map[string]*notice // by attack, since the last besiege
}

// start runs a server on a tree.
func start(t *testing.T, tree string, args ...string) *server {
	t.Helper()
	p, dir := nixtest.Program{Nix: peers.Newest(t)}, t.TempDir()
	s := &server{tree: tree, key: p.NewKey(t, "siege-1"), tokens: map[string]string{}, log: filepath.Join(dir, "log")}
	file := filepath.Join(dir, "tokens")
	for _, name := range []string{"alice", "bob", "mallory", "eve"} {
		s.tokens[name] = p.Output(t, "token", "create", "--file", file, "--name", name, "--scope", "upload")
	}
	if !strings.HasPrefix(tree, "s3://") {
		nixtest.Init(t, tree)
	}
	s.cmd = p.Command(t, append([]string{"serve", tree, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "-k", s.key.File, "--tokens", file, "--shutdown-timeout", "10s",
		"--oidc", "issuer=" + issuer + ",audience=x,claim:sub=x,scope=upload"}, args...)...)
	s.cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, openFiles)}, s.cmd.Args...)
	s.cmd.Path = "/bin/sh"
	s.cmd.Cancel = func() error { s.cmd.Process.Signal(syscall.SIGTERM); return os.ErrProcessDone }
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("serve does not start: %v\n%s", err, s.logged())
	}
	s.url = strings.TrimSpace(line)
	_, s.address, _ = strings.Cut(s.url, "://")
	return s
}

// file returns what is in a file of the tree.
func (s *server) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.tree, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *server) logged() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// memory is the most that the server has had in memory.
func (s *server) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// ends stops the server, and wants that it had little in memory, that nothing
// broke in it, and that all that is visible was checked.
func (s *server) ends(t *testing.T) {
	t.Helper()
	if most := s.memory(t); most > mostMemory {
		t.Errorf("the server has had %d MiB in memory", most>>20)
	} else {
		t.Logf("%d MiB of memory at most", most>>20)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	// The requests that attackers left behind may be cut off.
	if err := s.cmd.Wait(); err != nil && !strings.Contains(s.logged(), "requests were still under way") {
		t.Errorf("serve ends with %v: %s", err, last(s.logged()))
	}
	t.Logf("%s of processor time", s.cmd.ProcessState.UserTime()+s.cmd.ProcessState.SystemTime())
	for line := range strings.Lines(s.logged()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "too many open files") {
			t.Errorf("the log says: %.4000s", line)
			break
		}
	}
	p := nixtest.Program{Nix: peers.Newest(t)}
	if r := p.Run(t, "verify", "--deep", "--quiet", "--trusted-public-key", s.key.Public, s.tree); r.Code != 0 {
		t.Errorf("the tree is not whole: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// last returns the end of a text.
func last(text string) string { return text[max(0, len(text)-2000):] }

//go:build real

package serve_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Started the way systemd does, with sockets that are open and a socket to tell
// how it is, serve uses both.
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	notifications, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notifications.Close()
	var sockets []*os.File
	var addresses []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sockets = append(sockets, f)
	}
	nixtest.Init(t, filepath.Join(dir, "cache"))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh",
		nixtest.Binary(t), "serve", filepath.Join(dir, "cache"), "--anonymous-upload", "--min-free", "0", "--log-format", "json")
	cmd.ExtraFiles = sockets
	cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=nixstatic.socket:metrics",
		"NOTIFY_SOCKET="+notifications.LocalAddr().String(), "WATCHDOG_USEC=100000")
	log := &nixtest.Buffer{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := "http://" + addresses[0] + "\n"; err != nil || line != want {
		t.Errorf("it serves at %q, %v; want %q\n%s", line, err, want, log)
	}
	told := func() string {
		notifications.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 4096)
		n, err := notifications.Read(b)
		if err != nil {
			t.Fatalf("systemd is not told: %v\n%s", err, log)
		}
		return string(b[:n])
	}
	got := []string{told(), told(), told()}
	if want := []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"}; !slices.Equal(want, slices.Sorted(slices.Values(got))) {
		t.Errorf("systemd is told %q", got)
	}
	if status, _ := get(t, "http://"+addresses[0]+"/nix-cache-info"); status != 200 {
		t.Errorf("nix-cache-info: status %d", status)
	}
	if status, _ := get(t, "http://"+addresses[1]+"/healthz"); status != 200 {
		t.Errorf("healthz: status %d", status)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for state := told(); state != "STOPPING=1"; state = told() {
		if state != "WATCHDOG=1" {
			t.Errorf("systemd is told %q", state)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a line of the log is no JSON: %s", line)
		}
	}
}

// The units name flags that there are, and nothing of this program is beyond
// what they allow it.
func TestUnitFlags(t *testing.T) {
	unit := strings.ReplaceAll(readFile(t, nixtest.Source(t, "examples/systemd/nixstatic.service")), "\\\n", " ")
	_, rest, ok := strings.Cut(unit, "\nExecStart=/usr/local/bin/nixstatic ")
	if !ok {
		t.Fatal("the unit does not start /usr/local/bin/nixstatic")
	}
	command, _, _ := strings.Cut(rest, "\n")
	_, rest, ok = strings.Cut(unit, "\nExecStartPre=/usr/local/bin/nixstatic ")
	if !ok {
		t.Fatal("the unit does not make the cache")
	}
	before, _, _ := strings.Cut(rest, "\n")
	dir := t.TempDir()
	for range 2 {
		newest(t).Run(t, strings.Fields(strings.ReplaceAll(before, "/var/lib/nixstatic", dir))...).Want(t, 0)
	}
	key := newest(t).NewKey(t, "unit-1")
	if !strings.HasSuffix(command, " $OPTIONS") || !strings.Contains(unit, "\nEnvironmentFile=-/etc/nixstatic/serve.conf\n") {
		t.Errorf("the unit takes no flags from a file: %s", command)
	}
	command = strings.TrimSuffix(command, " $OPTIONS")
	text := strings.NewReplacer("/var/lib/nixstatic", dir, "%d/secret.key", key.File, "127.0.0.1:9180", "127.0.0.1:0").Replace(command)
	s := &server{Tree: filepath.Join(dir, "cache"), Tokens: filepath.Join(dir, "tokens"), Key: key}
	s.runAs(t, append(strings.Fields(text), "--listen", "127.0.0.1:0", "--min-free", "0")...)
	// As the README has it: the token is made after the service was started.
	s.Token = s.newToken(t, "ci", "upload")
	push(t, peers.Newest(t), s.upload("compression=none"), small(t))
	verify(t, s.Tree, key.Public)
}

// TestPruneUnit runs what the unit of the timer runs.
func TestPruneUnit(t *testing.T) {
	unit := readFile(t, nixtest.Source(t, "examples/systemd/nixstatic-gc.service"))
	_, rest, ok := strings.Cut(unit, "\nExecStart=/usr/local/bin/nixstatic ")
	if !ok {
		t.Fatal("the unit does not start /usr/local/bin/nixstatic")
	}
	command, _, _ := strings.Cut(rest, "\n")
	tree := filepath.Join(t.TempDir(), "cache")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(nixtest.Binary(t), args...).CombinedOutput(); err != nil {
			t.Errorf("nixstatic %v: %v\n%s", args, err, out)
		}
	}
	run("add", "--to", tree, nixtest.Source(t, "examples/systemd"))
	path, _, _ := strings.Cut(readFile(t, onlyNarInfo(t, tree)), "\n")
	run("pin", tree, "all", strings.TrimPrefix(path, "StorePath: "))
	run(strings.Fields(strings.Replace(command, "/var/lib/nixstatic/cache", tree, 1))...)
}

func onlyNarInfo(t *testing.T, tree string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tree, "*.narinfo"))
	if err != nil || len(files) != 1 {
		t.Fatalf("narinfos: %v, %v", files, err)
	}
	return files[0]
}

// A Unix socket serves a web server on the same machine, and a socket that a dead
// server left behind does not stop the next one.
func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	s := start(t)
	s.stop(t)
	for range 2 {
		s.cmd = nil
		s.runAs(t, "serve", s.Tree, "--listen", "unix:"+socket, "--tokens", s.Tokens, "--trusted-proxy", "unix", "--min-free", "0")
		if s.URL != "unix:"+socket {
			t.Errorf("it serves at %s", s.URL)
		}
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
		response, _ := do(t, transport, "GET", "http://cache/nix-cache-info", nil)
		if response.StatusCode != 200 {
			t.Errorf("status %d", response.StatusCode)
		}
		transport.CloseIdleConnections()
		if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o666 {
			t.Errorf("the socket: %v, %v", st, err)
		}
		newest(t).Run(t, "serve", s.Tree, "--listen", "unix:"+socket).Refused(t, "address already in use")
		s.kill(t)
	}
}

package nixtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// An Nginx listens on the loopback.
type Nginx struct {
	URL      string   // http://127.0.0.1:port
	Expected []string // words of errors that it may have

	accessLog string
}

// ServeNginx starts an nginx for the tree in the directory, until the test ends.
func ServeNginx(t testing.TB, tree string) *Nginx {
	t.Helper()
	return StartNginx(t, func(address string) string {
		// Our machine takes the place of the one in the example; all else is as
		// given.
		return Example(t, "nginx/nginx.conf", "listen 80;", "listen "+address+";", "listen [::]:80;", "",
			"root /srv/nix-cache;", fmt.Sprintf("root %q;", tree))
	})
}

// Example returns the text of a file of the folder examples, with each of the
// old strings, which must be there, replaced by the new one after it.
func Example(t testing.TB, name string, oldnew ...string) string {
	t.Helper()
	text, err := os.ReadFile(Source(t, "examples/"+name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(text), oldnew[i]) {
			t.Fatalf("examples/%s does not hold %q", name, oldnew[i])
		}
	}
	return strings.NewReplacer(oldnew...).Replace(string(text))
}

// StartNginx starts an nginx until the test ends. config returns what stands in
// the block http, given the address to listen on.
func StartNginx(t testing.TB, config func(address string) string) *Nginx {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address, dir := listener.Addr().String(), t.TempDir()
	n := &Nginx{URL: "http://" + address, accessLog: filepath.Join(dir, "access.log")}
	text := frame(dir, n.accessLog, config(address))
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.start(t, dir, listener.(*net.TCPListener))
	return n
}

// frame is what a distribution's nginx.conf has around the files it includes.
func frame(dir, accessLog, http string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pid %q;\nerror_log stderr warn;\nworker_processes 1;\n", filepath.Join(dir, "pid"))
	if os.Getuid() == 0 {
		b.WriteString("user root;\n") // the tests' directories are for their owner alone
	}
	fmt.Fprintf(&b, "events {}\nhttp {\n\taccess_log %q;\n", accessLog)
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "\t%s_temp_path %q;\n", temp, filepath.Join(dir, temp))
	}
	return b.String() + http + "\n}\n"
}

// start hands the listening socket over the way an nginx does to its successor
// in an upgrade. So the port cannot be lost to anyone else, and a request that
// comes before nginx is ready waits in the queue.
func (n *Nginx) start(t testing.TB, dir string, listener *net.TCPListener) {
	t.Helper()
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	// The shell ends nginx when its standard input ends, which it does even where
	// the test process is killed.
	const watch = `"$@" & read -r _; kill $!; wait $!`
	var stderr bytes.Buffer
	cmd := exec.Command("sh", "-c", watch, "sh", peers.Program(t, "nginx"),
		"-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;")
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "NGINX=3;")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Starting it made the socket blocking, which nginx takes as it comes.
	if err := syscall.SetNonblock(int(socket.Fd()), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Before nginx writes this file, a signal kills it as it does any process.
		for range 1000 {
			if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("nginx: %v", err)
		}
		for line := range strings.Lines(stderr.String()) {
			expected := func(words string) bool { return strings.Contains(line, words) }
			if !strings.Contains(line, "[notice]") && !slices.ContainsFunc(n.Expected, expected) {
				t.Errorf("nginx: %s", line)
			}
		}
	})
}

// Requests returns the requests so far, such as "GET /nix-cache-info HTTP/1.1".
func (n *Nginx) Requests(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(n.accessLog)
	if err != nil {
		t.Fatal(err)
	}
	var requests []string
	for line := range strings.Lines(string(text)) {
		if _, rest, ok := strings.Cut(line, `"`); ok {
			request, _, _ := strings.Cut(rest, `"`)
			requests = append(requests, request)
		}
	}
	return requests
}

// Sent returns how many bytes of bodies were sent so far.
func (n *Nginx) Sent(t testing.TB) (sum int64) {
	t.Helper()
	text, err := os.ReadFile(n.accessLog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.Split(line, `"`) // … "request" status bytes "referrer" "agent"
		if len(parts) < 3 {
			continue
		}
		var status int
		var size int64
		if _, err := fmt.Sscan(parts[2], &status, &size); err != nil {
			t.Fatalf("access log: %q: %v", line, err)
		}
		sum += size
	}
	return sum
}

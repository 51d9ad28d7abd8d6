//go:build linux && real

package filesystems

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// A server is a nixstatic serve that runs.
type server struct {
	url string
	cmd *exec.Cmd
	log strings.Builder
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)

// serve starts a server of a tree, by cmd, until the test ends.
func serve(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for s.url == "" {
		line, err := lines.ReadString('\n')
		s.log.WriteString(line)
		if err != nil {
			cmd.Wait()
			t.Fatalf("serve does not start: %v\n%s", err, s.log.String())
		}
		s.url = listening.FindString(line)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(&s.log, lines)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		cmd.Wait()
		if t.Failed() {
			t.Logf("the server says\n%s", s.log.String())
		}
	})
	return s
}

// serveArgs are those of a server that takes uploads, and the user and password of a
// client that may upload everything.
func serveArgs(t *testing.T, p nixtest.Program, tree string) (args []string, user string) {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	user = "ci:" + p.Output(t, "token", "create", "--file", tokens, "--name", "ci", "--scope", "admin") + "@"
	nixtest.Init(t, tree)
	return []string{"serve", tree, "--listen", "127.0.0.1:0", "--tokens", tokens, "--min-free", "0"}, user
}

// upload is where a client uploads.
func (s *server) upload(user string) string {
	return strings.Replace(s.url, "://", "://"+user, 1) + "/upload/"
}

// everyCommand has each command write to a tree, or read it, that prepare makes:
// all must do what they do anywhere else.
func everyCommand(t *testing.T, prepare func(t *testing.T, dir string)) {
	p := program(t)
	source := filepath.Join(t.TempDir(), "source")
	paths := sample(t, source)
	key := p.NewKey(t, "ours-1")
	made := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "cache")
		prepare(t, dir)
		return dir
	}
	export := func(t *testing.T, to string) {
		p.Run(t, append([]string{"export", "--from", source, "--no-check-sigs", "--debug-info", "--to", to}, paths...)...).Want(t, 0)
	}
	check := func(t *testing.T, dir string) {
		t.Helper()
		p.Run(t, "verify", "--deep", dir).Want(t, 0)
		tidy(t, dir)
	}
	t.Run("init", func(t *testing.T) {
		dir := made(t)
		p.Run(t, "init", dir).Want(t, 0)
		check(t, dir)
	})
	t.Run("export", func(t *testing.T) {
		dir := made(t)
		export(t, dir)
		check(t, dir)
		export(t, dir)
		check(t, dir)
	})
	t.Run("add", func(t *testing.T) {
		dir := made(t)
		p.Run(t, "add", "--to", dir, filepath.Join(source, "nar")).Want(t, 0)
		check(t, dir)
	})
	t.Run("sign", func(t *testing.T) {
		dir := made(t)
		export(t, dir)
		p.Run(t, "sign", "-k", key.File, dir).Want(t, 0)
		check(t, dir)
		p.Run(t, "verify", "--trusted-public-key", key.Public, dir).Want(t, 0)
	})
	t.Run("sync", func(t *testing.T) {
		dir, copied := made(t), made(t)
		p.Run(t, "sync", source, dir).Want(t, 0)
		check(t, dir)
		p.Run(t, "sync", dir, copied).Want(t, 0)
		check(t, copied)
		equal(t, source, dir)
		equal(t, source, copied)
		p.Run(t, "add", "--to", dir, filepath.Join(source, "log")).Want(t, 0)
		p.Run(t, "sync", "--delete", source, dir).Want(t, 0)
		check(t, dir)
		equal(t, source, dir)
	})
	t.Run("serve", func(t *testing.T) {
		dir, copied := made(t), made(t)
		args, user := serveArgs(t, p, dir)
		s := serve(t, p.Command(t, args...))
		p.Run(t, "sync", source, s.upload(user)).Want(t, 0)
		p.Run(t, "verify", "--deep", dir).Want(t, 0)
		p.Run(t, "sync", s.url, copied).Want(t, 0)
		check(t, copied)
		equal(t, source, copied)
	})
}

// equal checks that two trees have the same public objects.
func equal(t *testing.T, want, got string) {
	t.Helper()
	r := nixtest.Wait(t, program(t).Command(t, "sync", "--dry-run", "--delete", "--compare", "content", want, got))
	if r.Want(t, 0); r.Stdout != "" {
		t.Errorf("%s differs from %s:\n%s", got, want, r.Stdout)
	}
}

func TestCommandsLinked(t *testing.T) {
	everyCommand(t, func(t *testing.T, dir string) { link(t, dir, elsewhere(t)) })
}

func TestCommandsMounted(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	everyCommand(t, func(t *testing.T, dir string) {
		for _, name := range folders {
			nixtest.Mount(t, filepath.Join(dir, name), 0, "size=64m")
		}
	})
}

func TestCommandsBound(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	everyCommand(t, func(t *testing.T, dir string) {
		nixtest.Bind(t, filepath.Join(dir, "../volume"), filepath.Join(dir, "nar"))
	})
}

//go:build real

// Package client_test takes the place of people whose machine is to use a cache:
// with each Nix, with a daemon and without, as root and as another user.
package client_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// unprivileged is the user ID of a user without rights.
const unprivileged = 65534

// A machine has a store of its own, empty at first, and files of settings.
type machine struct {
	nix    peers.Nix
	dir    string
	daemon *exec.Cmd
	hide   string // a folder that the daemon does not see
}

// newMachine makes a machine whose Nix knows no cache.
func newMachine(t testing.TB, nix peers.Nix) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "client-") // not t.TempDir: others are to read it
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{nix: nix, dir: dir}
	t.Cleanup(func() {
		m.stopDaemon(t)
		filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				os.Chmod(path, 0o755)
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"etc", "root", "state", "home", "theirs"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "theirs")} {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "theirs"), unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
	m.write(t, "etc/nix.conf", "# settings of the machine\nexperimental-features = nix-command flakes\nbuild-users-group =\nsandbox = false\nbuild-hook =\nsubstituters =\ninclude more.conf")
	m.write(t, "etc/more.conf", "connect-timeout = 5\n")
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for ; strings.HasPrefix(name, "theirs/"); name = filepath.Dir(name) {
		if err := os.Chown(m.path(name), unprivileged, unprivileged); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A person runs programs on a machine.
type person struct {
	*machine
	uid  int
	home string
	with []string // environment
	bare bool     // reading is not kept either
	cut  bool     // off every network
}

func (m *machine) root() *person { return &person{machine: m, home: m.path("home")} }
func (m *machine) other() *person {
	return &person{machine: m, uid: unprivileged, home: m.path("theirs")}
}

// as has a command run as the person: with their settings, and without their
// rights to write where root alone may. The programs of the tests lie where only
// root can read, so that reading stays.
func (p *person) as(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Env = append(cmd.Env, "HOME="+p.home, "NIX_CONF_DIR="+p.path("etc"), "NIX_USER_CONF_FILES="+p.home+"/.config/nix/nix.conf",
		"NIX_STATE_DIR="+p.path("state"), "XDG_CACHE_HOME="+p.home+"/.cache")
	if p.daemon != nil {
		cmd.Env = append(cmd.Env, "NIX_REMOTE=daemon", "NIX_DAEMON_SOCKET_PATH="+p.socket())
	}
	cmd.Env = append(cmd.Env, p.with...)
	if p.uid != 0 {
		user := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
		if p.bare {
			cmd.Path = p.copied(t, cmd.Path)
		} else {
			user = append(user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
		}
		cmd.Args = append(append(user, cmd.Path), cmd.Args[1:]...)
		cmd.Path = peers.Program(t, "setpriv")
	}
	if p.cut {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	return cmd
}

// copied returns a link to a program where everyone can read it.
func (m *machine) copied(t testing.TB, program string) string {
	t.Helper()
	to := m.path(filepath.Base(program))
	if _, err := os.Stat(to); err == nil {
		return to
	}
	if err := os.Link(program, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// nixstatic runs our program.
func (p *person) nixstatic(t testing.TB, args ...string) nixtest.Result {
	t.Helper()
	return nixtest.Wait(t, p.as(t, nixtest.Program{Nix: p.nix, Dir: p.home}.Command(t, args...)))
}

// fetch has Nix bring a path into the store of the machine, and returns what it
// says.
func (p *person) fetch(t testing.TB, path string) (string, error) {
	t.Helper()
	args := []string{"-r", path}
	if p.daemon == nil {
		args = append(args, "--store", "local?root="+p.path("root"))
	}
	out, err := p.as(t, p.nix.Command(t, "nix-store", args...)).CombinedOutput()
	return string(out), err
}

func (p *person) fetches(t testing.TB, path string) {
	t.Helper()
	if out, err := p.fetch(t, path); err != nil {
		t.Fatalf("Nix %s: %v\n%s", p.nix.Version, err, out)
	}
	if _, err := os.Lstat(p.path("root" + path)); err != nil {
		t.Fatalf("Nix %s: %v", p.nix.Version, err)
	}
}

func (p *person) fetchesNot(t testing.TB, path string) string {
	t.Helper()
	out, err := p.fetch(t, path)
	if err == nil {
		t.Fatalf("Nix %s fetched %s\n%s", p.nix.Version, path, out)
	}
	return out
}

// forget empties the store of the machine, and what its Nix remembers.
func (m *machine) forget(t testing.TB, paths ...string) {
	t.Helper()
	args := append([]string{"--delete", "--ignore-liveness", "--store", "local?root=" + m.path("root")}, paths...)
	cmd := m.nix.Command(t, "nix-store", args...)
	cmd.Env = append(cmd.Env, "NIX_CONF_DIR="+m.path("etc"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("Nix %s: %v\n%s", m.nix.Version, err, out)
	}
	m.forgetAnswers(t)
}

func (m *machine) forgetAnswers(t testing.TB) {
	t.Helper()
	for _, name := range []string{"home/.cache", "theirs/.cache"} {
		if err := os.RemoveAll(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) socket() string { return m.path("s/socket") }

// startDaemon starts the machine's Nix daemon, or starts it again.
func (m *machine) startDaemon(t testing.TB) {
	t.Helper()
	m.stopDaemon(t)
	if err := os.MkdirAll(m.path("s"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := m.root()
	cmd := p.as(t, m.nix.Command(t, "nix-daemon", "--option", "store", "local?root="+m.path("root")))
	cmd.Env = append(cmd.Env, "NIX_DAEMON_SOCKET_PATH="+m.socket())
	if m.hide != "" {
		cmd.Args = append([]string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none "$0" && exec "$@"`, m.hide, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = peers.Program(t, "unshare")
	}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.daemon = cmd
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(m.socket()); err == nil {
			return
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("Nix %s: the daemon does not start\n%s", m.nix.Version, log.String())
		}
	}
}

func (m *machine) stopDaemon(t testing.TB) {
	t.Helper()
	if m.daemon == nil {
		return
	}
	m.daemon.Process.Signal(syscall.SIGTERM)
	m.daemon.Wait()
	m.daemon = nil
	os.Remove(m.socket())
}

// A cache is a tree with a key, and one path in it.
type cache struct {
	tree string
	key  nixtest.Key
	path string
}

// newCache makes a tree with a path, which says what its key is.
func newCache(t testing.TB, name string) cache {
	t.Helper()
	store := peers.Closure(t)
	p := nixtest.Program{Nix: peers.Newest(t)}
	dir, err := os.MkdirTemp("", "client-cache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := cache{filepath.Join(dir, "cache"), p.NewKey(t, name), store.Named(t, "libaudit-common-")}
	p.Output(t, "export", "--store", store.Root, "--to", c.tree, "-k", c.key.File, c.path)
	c.write(t, "public-keys", c.key.Public+"\n")
	return c
}

func (c cache) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.tree, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantText(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}

// plainNginx serves a tree with no settings but what it is told.
func plainNginx(t testing.TB, tree string, settings ...string) *nixtest.Nginx {
	t.Helper()
	return nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf("log_not_found off;\nserver {\nlisten %s;\nroot %q;\n%s\n}", address, tree, strings.Join(settings, "\n"))
	})
}

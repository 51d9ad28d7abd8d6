//go:build real

package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// quickstart serves the cache it has made, and tells a command that uses it.
func TestQuickstartServes(t *testing.T) {
	p := newest(t)
	p.Dir = t.TempDir()
	// Standard output goes to a file, so that it can be read while it is written.
	said := filepath.Join(p.Dir, "stdout")
	cmd := p.Command(t, "quickstart", "--listen", "127.0.0.1:0")
	// No store of this machine, which may be large.
	cmd.Env = append(cmd.Env, "NIX_REMOTE=unix://"+filepath.Join(p.Dir, "no-daemon"))
	cmd.Args = append([]string{"sh", "-c", `exec "$@" >` + said, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	run := nixtest.Start(t, cmd)
	var text string
	for !run.Ended() && !strings.Contains(text, "Ctrl-C") {
		time.Sleep(10 * time.Millisecond)
		b, _ := os.ReadFile(said)
		text = string(b)
	}
	m := regexp.MustCompile(`(?m)^ +nix (--extra-experimental-features nix-command copy --from (http://\S+) --option extra-trusted-public-keys \S+ (/nix/store/\S+))$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no command in\n%s\n%s", text, run.Wait(t).Stderr)
	}
	for _, nix := range peers.Nixes(t) {
		root := peers.StoreRoot(t)
		nix.Output(t, "nix", append(strings.Fields(m[1]), "--to", root)...)
		if _, err := os.Stat(filepath.Join(root, m[3], "bin/nixstatic")); err != nil {
			t.Errorf("Nix %s: %v", nix.Version, err)
		}
	}
	run.Signal(t, syscall.SIGINT)
	run.Wait(t).Want(t, 0)
}

// TestQuickstartPortTaken: quickstart takes a free port for its own, unless a port was asked
// for.
func TestQuickstartPortTaken(t *testing.T) {
	p := newest(t)
	p.Dir = t.TempDir()
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil { // else another process has it
		defer l.Close()
	}
	p.Run(t, "quickstart", "--listen", "127.0.0.1:8080").Refused(t, "address already in use")
	said := filepath.Join(p.Dir, "stdout")
	cmd := p.Command(t, "quickstart")
	cmd.Env = append(cmd.Env, "NIX_REMOTE=unix://"+filepath.Join(p.Dir, "no-daemon"))
	cmd.Args = append([]string{"sh", "-c", `exec "$@" >` + said, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	run := nixtest.Start(t, cmd)
	var text string
	for !run.Ended() && !strings.Contains(text, "Ctrl-C") {
		time.Sleep(10 * time.Millisecond)
		b, _ := os.ReadFile(said)
		text = string(b)
	}
	run.Signal(t, syscall.SIGINT)
	run.Wait(t).Want(t, 0)
	m := regexp.MustCompile(`(?m)^extra-substituters = http://127\.0\.0\.1:([0-9]+)$`).FindStringSubmatch(text)
	if m == nil || m[1] == "8080" {
		t.Errorf("it says\n%s", text)
	}
	for _, word := range []string{"/etc/nix/nix.conf", "trusted-users", "NixOS", "nixstatic use"} {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}

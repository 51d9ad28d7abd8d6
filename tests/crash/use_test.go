//go:build linux && real

package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Each call by which use, and use --remove, change the settings of a machine is the
// last one, or fails. nix.conf and netrc are whole at that instant, old or new; the next
// run brings the rest, and leaves no token elsewhere.
func TestUseFaults(t *testing.T) {
	p := newRunner(t)
	home := t.TempDir()
	cache, token := filepath.Join(home, "cache"), filepath.Join(home, "token")
	key := p.NewKey(t, "use.example.org-1")
	p.Output(t, "export", "--store", peers.Closure(t).Root, "--to", cache, "-k", key.File, peers.Closure(t).Named(t, "libaudit-common-"))
	if err := os.WriteFile(token, []byte("nst_"+strings.Repeat("A", 43)), 0o600); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(cache)))
	t.Cleanup(web.Close) // after the parallel tests
	server := web.URL
	command := func(dir string, args ...string) *exec.Cmd {
		cmd := p.Command(t, append([]string{"use", server, "--write", "system"}, args...)...)
		cmd.Env = append(cmd.Env, "NIX_CONF_DIR="+dir, "NIX_STATE_DIR="+home, "HOME="+home)
		return cmd
	}
	add := []string{"--key", key.Public, "--token-file", token}
	before := scratch(t)
	for name, text := range map[string]string{"nix.conf": "# mine\ninclude more.conf\r\nkeep-outputs = true", "more.conf": "fallback = true\n", "netrc": "machine other password x"} {
		if err := os.WriteFile(filepath.Join(before, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	used := scratch(t)
	copyTree(t, used, before)
	watch{Dir: used}.run(t, command(used, add...)).Want(t, 0)
	old, next := settings(t, before), settings(t, used)
	if old["nix.conf"] == next["nix.conf"] || old["netrc"] == next["netrc"] {
		t.Fatalf("use changed nothing: %q", next)
	}
	for name, c := range map[string]struct {
		from  string
		start map[string]string
		end   map[string]string
		args  []string
	}{
		"use":    {before, old, next, add},
		"remove": {used, next, old, []string{"--remove"}},
	} {
		plain := scratch(t)
		copyTree(t, plain, c.from)
		run := watch{Dir: plain}.run(t, command(plain, c.args...))
		run.Want(t, 0)
		if len(run.Calls) == 0 {
			t.Fatal("no call is seen")
		}
		for at := 1; at <= len(run.Calls)+slack; at++ {
			for _, f := range faultsAt(run.Calls, at, name == "remove") {
				t.Run(fmt.Sprintf("%s %d %v", name, at, f), func(t *testing.T) {
					t.Parallel()
					dir := scratch(t)
					copyTree(t, dir, c.from)
					run := watch{Dir: dir, Fault: f}.run(t, command(dir, c.args...))
					for file, text := range settings(t, dir) {
						if text != c.start[file] && text != c.end[file] {
							t.Errorf("%s is neither old nor new after %v of %v: %q", file, f, run.Hit, text)
						}
					}
					watch{Dir: dir}.run(t, command(dir, c.args...)).Want(t, 0)
					for file, text := range settings(t, dir) {
						if text != c.end[file] {
							t.Errorf("%s after %v of %v and another run: %q, want %q", file, f, run.Hit, text, c.end[file])
						}
					}
					entries, err := os.ReadDir(dir)
					if err != nil || len(entries) != 3 {
						t.Errorf("%v of %v leaves %v, %v", f, run.Hit, entries, err)
					}
				})
			}
		}
	}
}

// settings reads the files of settings, of which the absent are not there.
func settings(t testing.TB, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range []string{"nix.conf", "more.conf", "netrc"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

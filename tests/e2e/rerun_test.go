//go:build real

package e2e_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// summary is what export --json prints, as far as the tests ask.
type summary struct {
	Paths, Written, Present, NarBytes, FileBytes int64
}

func exportJSON(t testing.TB, p nixtest.Program, args ...string) summary {
	t.Helper()
	var s summary
	if err := json.Unmarshal([]byte(p.Output(t, append([]string{"export", "--json"}, args...)...)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// opened returns what a traced program opened below a directory.
func opened(t testing.TB, trace, below string) (names []string) {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	result := regexp.MustCompile(` = \d+<([^>]*)>$`)
	for lines.Scan() {
		if m := result.FindStringSubmatch(lines.Text()); m != nil && strings.HasPrefix(m[1], below+"/") {
			names = append(names, strings.TrimPrefix(m[1], below+"/"))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// Paths that the tree has already are not read again: neither from the store, nor
// from the tree but for the records. The kernel is asked, not the program.
func TestSecondRunReadsNothing(t *testing.T) {
	store, p := peers.Closure(t), newest(t)
	dir := t.TempDir()
	tree := filepath.Join(dir, "cache")
	traced := func(name string, paths ...string) string {
		t.Helper()
		trace := filepath.Join(dir, name)
		cmd := p.Command(t, append([]string{"export", "--store", store.Root, "--to", tree, "--logs"}, paths...)...)
		strace := exec.CommandContext(t.Context(), peers.Program(t, "strace"),
			append([]string{"-f", "-y", "-qq", "-e", "trace=open,openat,openat2", "-e", "signal=none", "-o", trace, "--"}, cmd.Args...)...)
		strace.Env = cmd.Env
		nixtest.Wait(t, strace).Want(t, 0)
		return trace
	}
	app, odd := store.Named(t, "libgcc-s1-"), store.Named(t, "odd?name")
	real := filepath.Join(store.Root, "nix/store")
	if got := opened(t, traced("first", app), real); len(got) == 0 {
		t.Fatal("the first run opens nothing in the store: the trace proves nothing")
	}
	trace := traced("second", app)
	if diff := cmp.Diff([]string(nil), opened(t, trace, real)); diff != "" {
		t.Errorf("the second run opens files of the store:\n%s", diff)
	}
	for _, name := range opened(t, trace, tree) {
		if strings.HasPrefix(name, "nar/") || strings.HasSuffix(name, ".ls") {
			t.Errorf("the second run opens %s of the tree", name)
		}
	}
	// If a closure is there in part, the rest alone is read.
	for _, name := range opened(t, traced("third", app, odd), real) {
		if name != filepath.Base(odd) {
			t.Errorf("the third run opens %s", name)
		}
	}
}

// A run that was interrupted ends in good order, leaves a sound tree, and is
// completed by the next one, which writes only what is missing.
func TestInterrupt(t *testing.T) {
	store, p := peers.Closure(t), newest(t)
	key := p.NewKey(t, "interrupted-1")
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			tree := filepath.Join(t.TempDir(), "cache")
			cmd := p.Command(t, "export", "--store", store.Root, "--to", tree, "-k", key.File, "-c", "xz", "--level", "9", "-j", "1", store.Top)
			run := nixtest.Start(t, cmd)
			// The first records are there long before the last path.
			for !run.Ended() {
				if found, _ := filepath.Glob(filepath.Join(tree, "*.narinfo")); len(found) > 0 {
					run.Signal(t, signal)
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			r := run.Wait(t).Want(t, 130)
			if !strings.Contains(r.Stderr, "nixstatic: error: interrupted\nnixstatic: hint: ") {
				t.Errorf("it says %s", r.Stderr)
			}
			p.Output(t, "verify", "--deep", "--trusted-public-key", key.Public, tree)
			before := snap(t, tree).names(".narinfo")
			if staged, _ := filepath.Glob(filepath.Join(tree, ".nixstatic/*/*/*")); len(staged) > 0 {
				t.Errorf("unfinished files are left: %q", staged)
			}

			if signal == syscall.SIGTERM {
				return // how it goes on, the other signal has shown
			}
			got := exportJSON(t, p, "--store", store.Root, "--to", tree, "-k", key.File, "--level", "1", store.Top)
			want := summary{Paths: int64(len(store.Paths)), Present: int64(len(before)), Written: int64(len(store.Paths) - len(before)),
				NarBytes: got.NarBytes, FileBytes: got.FileBytes}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the next run (-want +got):\n%s", diff)
			}
			p.Output(t, "verify", "--trusted-public-key", key.Public, tree)
		})
	}
}

//go:build linux && real

package crash

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each call that asks the tree something fails once. An object that could not be
// told of may be there all the same (I5): the command must fail, or come to the
// same end as without the failure.
func TestUnreadable(t *testing.T) {
	c, key, p := small(t), signingKey(t), newRunner(t)
	dir := scratch(t)
	tree := filepath.Join(dir, "tree")
	export := []string{"export", "--from", c.Cache, "--no-check-sigs", "--logs", "--debug-info", "-k", key.File, "--to", tree, c.Top}
	p.Output(t, export...)
	files := addedFiles(t)
	p.Output(t, "add", "--to", tree, "-k", key.File, files.sources[0])
	was := contents(t, tree)

	for name, args := range map[string][]string{
		"export": export,
		"add":    {"add", "--to", tree, files.sources[0]},
		"sign":   {"sign", "-k", key.File, tree},
		"verify": {"verify", "--deep", "--trusted-public-key", key.Public, tree},
	} {
		t.Run(name, func(t *testing.T) {
			plain := watch{Dir: dir, Stops: "reading"}.run(t, p.Command(t, args...))
			plain.Want(t, 0)
			t.Logf("%d calls ask the tree", len(plain.Calls))
			for at := 1; at <= len(plain.Calls); at++ {
				t.Run(fmt.Sprint(at), func(t *testing.T) {
					t.Parallel()
					f := fault{At: at, Errno: unix.EIO}
					run := watch{Dir: dir, Stops: "reading", Fault: f}.run(t, p.Command(t, args...))
					if run.Code == 0 && run.Stdout == plain.Stdout && run.Stderr == plain.Stderr {
						return
					}
					if run.Code == 0 && strings.Contains(run.Stderr, "note: the page for browsers could not be brought up to date") && strings.Contains(run.Stderr, "input/output error") {
						return // the cache is as it should be, and the page is told of
					}
					if run.Code != 1 || !strings.Contains(run.Stderr, "nixstatic: error: ") || !strings.Contains(run.Stderr, "input/output error") {
						t.Errorf("%v failed; exit code %d\n%s%s", run.Hit, run.Code, run.Stdout, run.Stderr)
					}
				})
			}
		})
	}
	t.Cleanup(func() {
		for name, text := range contents(t, tree) {
			if was[name] != text {
				t.Errorf("%s was changed", name)
			}
		}
	})
}

// contents returns the files of a tree with a digest of each, but for what is
// private.
func contents(t testing.TB, tree string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range names(t, tree) {
		if !strings.HasPrefix(name, ".nixstatic/") {
			files[name] = digest(t, filepath.Join(tree, name))
		}
	}
	return files
}

//go:build linux && real

package crash

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pruned are the notes of verify that a run of gc may leave, killed or not.
var pruned = append(slices.Clone(leftovers), "withdrawn", "unreferenced-debuginfo", "unreferenced-log")

// pruning are runs of gc over a closure of which one path is pinned.
func pruning(t testing.TB) []scenario {
	c := small(t)
	var list []scenario
	for _, undo := range []string{"0", "7d"} {
		list = append(list, scenario{
			name:    "undo " + undo,
			between: pruned,
			before: func(t testing.TB, p runner, dir string) {
				tree := filepath.Join(dir, "tree")
				p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--logs", "--debug-info", "--to", tree, c.Top)
				p.Output(t, "pin", tree, "stays", c.Paths[0])
			},
			args: func(_ testing.TB, dir string) []string {
				return []string{"gc", filepath.Join(dir, "tree"), "--keep-young", "0", "--grace", "0", "--undo", undo, "--max-removal", "100%", "--yes"}
			},
		})
	}
	return list
}

// Each call of gc that changes the tree is its last one, or fails. The tree must be
// right at that instant, and the next run must end what was begun.
func TestPruningFaults(t *testing.T) {
	for _, s := range pruning(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := newRunner(t)
			before, plain := scratch(t), scratch(t)
			s.before(t, p, before)
			copyTree(t, plain, before)
			run := watch{Dir: plain}.run(t, p.Command(t, s.args(t, plain)...))
			run.Want(t, 0)
			tree := filepath.Join(plain, "tree")
			p.verify(t, tree, pruned)
			end := paths(t, tree)
			if len(end) == 0 || len(end) == len(paths(t, filepath.Join(before, "tree"))) {
				t.Fatalf("a run leaves %v", end)
			}
			t.Logf("%d calls change the tree", len(run.Calls))
			for at := 1; at <= len(run.Calls)+slack; at++ {
				for _, f := range faultsAt(run.Calls, at, true) {
					t.Run(fmt.Sprintf("%d %v", at, f), func(t *testing.T) {
						t.Parallel()
						dir := scratch(t)
						copyTree(t, dir, before)
						tree := filepath.Join(dir, "tree")
						run := watch{Dir: dir, Fault: f}.run(t, p.Command(t, s.args(t, dir)...))
						// A file that was removed is gone, whatever was said of it.
						if removed := run.Hit != nil && run.Hit.Name == "unlinkat" && f.After; !removed || run.Code != 0 {
							checkOutcome(t, f, run)
						}
						p.verify(t, tree, pruned)
						p.Run(t, s.args(t, dir)...).Want(t, 0)
						p.verify(t, tree, pruned)
						if left := paths(t, tree); !slices.Equal(left, end) {
							t.Errorf("%v is left, want %v", left, end)
						}
						if t.Failed() {
							t.Logf("the fault was %v of %v; exit code %d\n%s", f, run.Hit, run.Code, run.Stderr)
						}
					})
				}
			}
		})
	}
}

// paths returns the narinfos of a tree.
func paths(t testing.TB, tree string) (list []string) {
	t.Helper()
	for _, name := range names(t, tree) {
		if strings.HasSuffix(name, ".narinfo") && !strings.Contains(name, "/") {
			list = append(list, name)
		}
	}
	return list
}

// The power goes at each instant of a run of gc: no narinfo comes back without what
// it leads to.
func TestPruningPowerCut(t *testing.T) {
	for _, s := range pruning(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testPowerCut(t, s)
		})
	}
}

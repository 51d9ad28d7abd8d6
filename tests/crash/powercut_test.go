//go:build linux && real

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The power goes at each instant of a run. The tree must be right with anything
// that the disk may have by then beyond what it owes us; and after a run that
// succeeded, all of it must be there.
func TestPowerCut(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testPowerCut(t, s)
		})
	}
}

func testPowerCut(t *testing.T, s scenario) {
	p := newRunner(t)
	before, after := scratch(t), scratch(t)
	if s.before != nil {
		s.before(t, p, before)
	}
	copyTree(t, after, before)
	run := watch{Dir: after, Lacks: s.lacks}.run(t, p.Command(t, s.args(t, after)...))
	run.Want(t, 0)
	d := newDisk(t, before)
	d.run(t, run.Calls, after)
	trees := powerCuts(t, s, d, 0, after, nil)
	t.Logf("%d calls, %d different trees", len(run.Calls), trees)
}

// The next run must not rest on names that a killed run has not brought to disk:
// they go with the power as well.
func TestPowerCutAfterKill(t *testing.T) {
	all := scenarios(t)
	s := all[slices.IndexFunc(all, func(s scenario) bool { return s.name == "export from a cache" })]
	p, plain := newRunner(t), scratch(t)
	run := watch{Dir: plain}.run(t, p.Command(t, s.args(t, plain)...))
	run.Want(t, 0)
	for i, c := range run.Calls {
		if c.staging() { // all the same to the next run
			continue
		}
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			t.Parallel()
			before, killed, after := scratch(t), scratch(t), scratch(t)
			first := watch{Dir: after, Fault: fault{At: i + 1, Kill: true}}.run(t, p.Command(t, s.args(t, after)...))
			copyTree(t, killed, after)
			second := watch{Dir: after}.run(t, p.Command(t, s.args(t, after)...))
			second.Want(t, 0)

			d := newDisk(t, before)
			d.run(t, settled(first.Calls, killed), killed)
			between := d.end
			d.run(t, second.Calls, after)
			// A log that is there is not looked at again.
			powerCuts(t, s, d, between, after, []string{"log/" + deriver})
		})
	}
}

// settled finds out from what is there which calls of a killed process have
// happened although it did not see their end.
func settled(calls []call, dir string) []call {
	calls = slices.Clone(calls)
	end := 0
	for _, c := range calls {
		end = max(end, c.Enter+1, c.Exit+1)
	}
	for i, c := range calls {
		if c.Exit > 0 {
			continue
		}
		calls[i].Exit = end
		_, err := os.Lstat(filepath.Join(dir, c.Path))
		there := err == nil
		switch c.Name {
		case "mkdirat", "openat":
			if there {
				calls[i].Errno = 0
			}
		case "renameat", "renameat2", "unlinkat":
			if !there {
				calls[i].Errno = 0
			}
		case "write":
			calls[i].Errno = 0 // it may have
		}
	}
	return calls
}

// powerCuts lets the power go at each instant from one on, and returns how many
// different trees that leaves. In the end after is what a run left that
// succeeded, and all of it must last but what is expendable.
func powerCuts(t *testing.T, s scenario, d *disk, from int, after string, expendable []string) int {
	t.Helper()
	tree := s.tree
	if tree == "" {
		tree = "tree"
	}
	trees := 0
	seen := map[string]bool{}
	for instant, o := range d.cuts(from) {
		if id := o.id(); seen[id] {
			continue
		} else {
			seen[id] = true
		}
		trees++
		if err := o.check(t, tree, s.between); err != nil {
			t.Errorf("the power goes at instant %d of %d, and leaves\n%v%v", instant, d.end, o, err)
		}
	}
	nothingToLose(t, d, after, tree, expendable)
	return trees
}

// nothingToLose checks that after a run that succeeded the power takes nothing
// along, but what is expendable.
func nothingToLose(t testing.TB, d *disk, after, tree string, expendable []string) {
	t.Helper()
	last := d.outcome(d.end, nil)
	for _, name := range names(t, filepath.Join(after, tree)) {
		bytes, there := last[filepath.Join(tree, name)]
		if (!there || bytes == lost) && !strings.HasPrefix(name, ".nixstatic/") && !slices.Contains(expendable, name) {
			t.Errorf("the run succeeded, and %s can still be lost", name)
		}
	}
}

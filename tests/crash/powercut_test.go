//go:build linux

package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
)

// The power goes at each instant of a run. Whatever the disk has by then beyond
// what it owes us, the tree must be right; and after a run that succeeded, all
// of it must be there.
func TestPowerCut(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testPowerCut(t, s)
		})
	}
}

func testPowerCut(t *testing.T, s scenario) {
	if s.tree == "" {
		s.tree = "tree"
	}
	p := newRunner(t)
	before, after := scratch(t), scratch(t)
	if s.before != nil {
		s.before(t, p, before)
	}
	copyTree(t, after, before)
	run := watch{Dir: after, Lacks: s.lacks}.run(t, p.Command(t, s.args(t, after)...))
	run.Want(t, 0)
	d := newDisk(t, before, after, run.Calls)

	seen := map[string]bool{}
	for instant := range d.end + 1 {
		for _, o := range d.outcomes(instant) {
			if text := o.String(); !seen[text] {
				seen[text] = true
				checkOutage(t, p, s, d, o, instant, run.Calls)
			}
		}
	}
	t.Logf("%d instants, %d different trees", d.end+1, len(seen))

	// A run that succeeded has nothing left to lose.
	kept := scratch(t)
	d.outcome(d.end, nil).write(t, kept)
	want := names(t, filepath.Join(after, s.tree))
	have := names(t, filepath.Join(kept, s.tree))
	for _, name := range want {
		if !slices.Contains(have, name) && !strings.HasPrefix(name, ".nixstatic/") {
			t.Errorf("the run succeeded, and %s can still be lost", name)
		}
	}
}

// An outcome is what is on disk after the power went. Files that are not whole
// are empty.
type outcome map[string]file

type file struct {
	node  *node
	whole bool
}

// A pick says which version of a name made it to disk.
type pick struct {
	dir     *node
	name    string
	version int
}

// outcomes returns what may be on disk after an instant: no more than is owed,
// all that was done, each change that is not owed alone, and all but each.
func (d *disk) outcomes(instant int) []outcome {
	var all, changes []pick
	var visit func(n *node)
	visited := map[*node]bool{}
	visit = func(n *node) {
		if visited[n] {
			return
		}
		visited[n] = true
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			versions := n.possible(name, instant)
			for i, v := range versions {
				if i > 0 {
					changes = append(changes, pick{n, name, i})
				}
				if v.node != nil && v.node.names != nil {
					visit(v.node)
				}
			}
			if last := len(versions) - 1; last > 0 {
				all = append(all, pick{n, name, last})
			}
		}
	}
	visit(d.root)
	list := []outcome{d.outcome(instant, nil), d.outcome(instant, all)}
	for _, c := range changes {
		list = append(list, d.outcome(instant, []pick{c}))
	}
	for i := range all {
		list = append(list, d.outcome(instant, slices.Delete(slices.Clone(all), i, i+1)))
	}
	return list
}

// outcome returns what is on disk if the picks made it there, and nothing else
// that is not owed.
func (d *disk) outcome(instant int, picks []pick) outcome {
	chosen := map[pick]int{}
	for _, p := range picks {
		chosen[pick{p.dir, p.name, 0}] = p.version
	}
	o := outcome{}
	var visit func(n *node, at string)
	visit = func(n *node, at string) {
		for name := range n.names {
			v := n.possible(name, instant)[chosen[pick{n, name, 0}]]
			full := filepath.Join(at, name)
			switch {
			case v.node == nil, strings.Contains(full+"/", "/.nixstatic/"): // swept, whatever is there
			case v.node.names != nil:
				visit(v.node, full)
			default:
				o[full] = file{v.node, v.node.whole(instant)}
			}
		}
	}
	visit(d.root, ".")
	return o
}

// String tells outcomes apart.
func (o outcome) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s %d %v\n", name, o[name].node.id, o[name].whole)
	}
	return b.String()
}

func (o outcome) write(t testing.TB, dir string) {
	t.Helper()
	for name, f := range o {
		text := ""
		if f.whole {
			bytes, err := os.ReadFile(f.node.source)
			if err != nil {
				t.Fatal(err)
			}
			text = string(bytes)
		}
		write(t, filepath.Join(dir, name), text)
	}
}

// checkOutage checks the tree of an outcome, with the checker itself: it is
// quicker than the program by far.
func checkOutage(t *testing.T, p runner, s scenario, d *disk, o outcome, instant int, calls []call) {
	t.Helper()
	dir := scratch(t)
	defer os.RemoveAll(dir)
	o.write(t, dir)
	if err := check(t.Context(), filepath.Join(dir, s.tree)); err == nil {
		return
	} else {
		t.Errorf("the power goes at instant %d: %v", instant, err)
	}
	for _, c := range calls {
		if c.Exit > instant-20 && c.Enter < instant+4 {
			t.Logf("%d-%d %v", c.Enter, c.Exit, c)
		}
	}
}

// check returns what is wrong with a tree, which may not be one yet.
func check(ctx context.Context, dir string) error {
	tree, err := layout.OpenDir(dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	some := false
	for info, err := range tree.List(ctx, "") {
		if err != nil {
			return err
		}
		some = some || info.Key.Kind().Public()
	}
	if !some {
		return nil
	}
	var errs []error
	for p, err := range fsck.Check(ctx, tree, fsck.Options{Deep: true}) {
		if err == nil && !slices.Contains(leftovers, p.Kind.String()) {
			err = errors.New(p.String())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

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
	"sync"
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

// What a run that was killed has not brought to disk, the next one must not
// rest on: it goes with the power as well.
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
			// Where a log is, it is not looked at again.
			powerCuts(t, s, d, between, after, []string{"log/" + deriver})
		})
	}
}

// settled finds out from what is there which calls of a killed process have
// happened although it did not see their end.
func settled(calls []call, dir string) []call {
	calls = slices.Clone(calls)
	for i, c := range calls {
		if c.Exit > 0 {
			continue
		}
		calls[i].Exit = 2*len(calls) + 1
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
	trees := map[string]bool{}
	for _, instant := range append(slices.Clone(d.instants), d.end) {
		if instant < from {
			continue
		}
		for _, o := range d.outcomes(instant) {
			id := o.id()
			if trees[id] {
				continue
			}
			trees[id] = true
			if err := o.check(t, tree); err != nil {
				t.Errorf("the power goes at instant %d of %d, and leaves\n%v%v", instant, d.end, o, err)
			}
		}
	}

	// A run that succeeded has nothing left to lose.
	last := d.outcome(d.end, nil)
	for _, name := range names(t, filepath.Join(after, tree)) {
		if _, kept := last[filepath.Join(tree, name)]; !kept && !strings.HasPrefix(name, ".nixstatic/") && !slices.Contains(expendable, name) {
			t.Errorf("the run succeeded, and %s can still be lost", name)
		}
	}
	return len(trees)
}

// An outcome is what is on disk after the power went: files and their bytes. A
// file that is not whole is empty.
type outcome map[string]*content

// lost is what there is of a file that was not brought to disk.
var lost = &content{}

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
			case v.node.whole(instant):
				o[full] = v.node.bytes
			default:
				o[full] = lost
			}
		}
	}
	visit(d.root, ".")
	return o
}

func (o outcome) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%8d %s\n", len(o[name].text), name)
	}
	return b.String()
}

// id tells outcomes apart.
func (o outcome) id() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o)) {
		b.WriteString(name)
		b.WriteByte(0)
		b.WriteString(o[name].sum)
	}
	return b.String()
}

// verdicts are those of outcomes: most runs come through the same ones.
var verdicts sync.Map // id → error, or nil

// check returns what is wrong with the tree of the outcome.
func (o outcome) check(t testing.TB, tree string) error {
	t.Helper()
	id := tree + " " + o.id()
	if err, known := verdicts.Load(id); known {
		err, _ := err.(error)
		return err
	}
	dir := scratch(t)
	defer os.RemoveAll(dir)
	for name, bytes := range o {
		write(t, filepath.Join(dir, name), bytes.text)
	}
	err := check(t.Context(), filepath.Join(dir, tree))
	verdicts.Store(id, err)
	return err
}

// check returns what is wrong with a tree, which may not be one yet. It asks the
// checker itself, which is quicker than the program by far.
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

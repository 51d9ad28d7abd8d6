//go:build linux && real

package crash

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
			case v.node == nil, swept(full):
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

// swept reports whether the next run removes a file or takes no notice of it,
// whatever it is.
func swept(name string) bool {
	_, private, ok := strings.Cut(name, ".nixstatic/")
	return ok && (private == "lock" || strings.HasPrefix(private, "staging"))
}

// cuts yields what may be on disk if the power goes at each of the instants from
// one on.
func (d *disk) cuts(from int) iter.Seq2[int, outcome] {
	return func(yield func(int, outcome) bool) {
		for _, instant := range append(slices.Clone(d.instants), d.end) {
			if instant < from {
				continue
			}
			for _, o := range d.outcomes(instant) {
				if !yield(instant, o) {
					return
				}
			}
		}
	}
}

func (o outcome) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%8d %s\n", len(o[name].text), name)
	}
	return b.String()
}

// write makes a directory of the outcome.
func (o outcome) write(t testing.TB, dir string) {
	t.Helper()
	for name, bytes := range o {
		write(t, filepath.Join(dir, name), bytes.text)
	}
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
func (o outcome) check(t testing.TB, tree string, between []string) error {
	t.Helper()
	id := fmt.Sprint(tree, between, o.id())
	if err, known := verdicts.Load(id); known {
		err, _ := err.(error)
		return err
	}
	dir := scratch(t)
	defer os.RemoveAll(dir)
	o.write(t, dir)
	err := check(t.Context(), filepath.Join(dir, tree), between)
	verdicts.Store(id, err)
	return err
}

// check returns what is wrong with a tree, which may not be one yet, but for
// problems of the kinds given. It asks the checker itself, which is quicker than
// the program by far.
func check(ctx context.Context, dir string, between []string) error {
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
		if kind := p.Kind.String(); err == nil && !slices.Contains(leftovers, kind) && !slices.Contains(between, kind) {
			err = errors.New(p.String())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

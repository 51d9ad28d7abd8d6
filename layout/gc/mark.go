package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A root keeps paths, and all that they lead to.
type root struct {
	name   string // as people are told: "pin host-a@3"
	kind   rootKind
	newest time.Time // when something of it came last; zero if that is not known
	paths  []int32
	lists  []victim // of a run
}

// A rootKind says why a root keeps paths.
type rootKind string

const (
	rootOfPin rootKind = "pin"
	rootOfRun rootKind = "root"
	rootHeld  rootKind = "waiting"
	rootYoung rootKind = "young"
	rootUsed  rootKind = "used"
)

// passes reports whether such a root keeps paths for a time of their own.
func (k rootKind) passes() bool { return k == rootYoung || k == rootUsed }

// A RootError says that the path of a root is not in the tree: what is true of
// the tree is not what the root was made for.
type RootError struct {
	Root string
	Path layout.StorePath
}

func (e *RootError) Error() string { return fmt.Sprintf("%s: %s is not in the cache", e.Root, e.Path) }

// roots returns the roots of a tree: pins, runs, what waits in the tree for its NAR
// or references, and what is young. It returns how many of them an
// operator or a run asked for.
func (v *view) roots(ctx context.Context, o Options) (roots []root, wished int, err error) {
	list, err := ReadPins(ctx, v.tree)
	if err != nil {
		return nil, 0, err
	}
	if o.Policy != nil && !o.Policy.Pins {
		list = nil
	}
	for _, pin := range list {
		for _, g := range pin.Kept(v.now) {
			r := root{name: fmt.Sprintf("pin %s@%d", pin.Name, g.Number), kind: rootOfPin, newest: g.Time}
			for _, p := range g.Paths {
				i := v.find(refgraph.PackPath(p.Hash()))
				if i < 0 {
					// It may have come since the tree was listed.
					if _, there, err := layout.Lookup(ctx, v.tree, layout.NarInfoKey(p)); err != nil {
						return nil, 0, err
					} else if !there {
						return nil, 0, &RootError{r.name, p}
					}
					continue
				}
				r.paths = append(r.paths, i)
			}
			roots = append(roots, r)
		}
	}
	runs, err := v.generations(ctx, o.Policy)
	if err != nil {
		return nil, 0, err
	}
	roots = append(roots, runs...)
	held := root{name: "waiting uploads", kind: rootHeld}
	leads, err := v.heldLeads(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, l := range leads {
		for _, id := range l.refs {
			if i := v.find(id); i >= 0 {
				held.paths = append(held.paths, i)
			}
		}
	}
	young := root{name: "young", kind: rootYoung}
	for i, p := range v.paths {
		if v.young(p.born, o.KeepYoung) {
			young.paths = append(young.paths, int32(i))
		}
	}
	roots = append(roots, held, young)
	if err := v.readUses(ctx); err != nil {
		return nil, 0, err
	}
	if o.Policy != nil && !o.Policy.Used.IsZero() {
		roots = append(roots, v.usedLately(o.Policy.Used.Before(v.now)))
	}
	return roots, len(list) + len(runs), nil
}

// heldFor is how long a narinfo may wait. A server drops it then; where none runs, gc
// does.
const heldFor = 24 * time.Hour

// heldLeads returns where the narinfos lead that wait in the tree, but for those that
// have waited for too long, which it files.
func (v *view) heldLeads(ctx context.Context) ([]lead, error) {
	v.overdue = nil
	var leads []lead
	for info, err := range v.tree.List(ctx, layout.HeldPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list what waits: %w", err)
		}
		if v.now.Sub(info.ModTime) > heldFor {
			v.overdue = append(v.overdue, otherEntry{info.Key, uint32(max(0, info.ModTime.Unix())), tagOf(info.ETag), info.Size, nowhere})
			continue
		}
		text, err := layout.ReadAll(ctx, v.tree, info.Key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // published meanwhile
		}
		if err != nil {
			return nil, err
		}
		// The name is the hash of the path, and the client's if it has a token.
		hash, _, _ := strings.Cut(strings.TrimPrefix(string(info.Key), layout.HeldPrefix), ".")
		n, err := parseNarInfo(layout.NarInfoKeyOf(hash), text, v.storeDir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", info.Key, err)
		}
		leads = append(leads, leadsOf(n))
	}
	return leads, nil
}

// A set is one of paths, by number.
type set []uint64

func (v *view) newSet() set { return make(set, (len(v.paths)+len(v.ghosts)+63)/64) }

func (s set) has(i int32) bool { return s[i/64]&(1<<(i%64)) != 0 }

// add reports whether it was not there before.
func (s set) add(i int32) bool {
	if s.has(i) {
		return false
	}
	s[i/64] |= 1 << (i % 64)
	return true
}

// mark adds paths, and all that they refer to, to a set. Each path that is new
// there is told.
func (v *view) mark(s set, from []int32, told func(i int32)) {
	var stack []int32
	push := func(i int32) {
		if s.add(i) {
			stack = append(stack, i)
			if told != nil {
				told(i)
			}
		}
	}
	for _, i := range from {
		push(i)
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, ref := range v.references(i) {
			push(ref)
		}
	}
}

// levels orders paths so that each comes before all that it refers to. Paths that
// refer to each other in a circle, which no Nix makes, come in the last level.
func (v *view) levels(paths []int32) [][]int32 {
	in := map[int32]int{} // how many of the paths refer to it
	for _, i := range paths {
		in[i] += 0
	}
	for _, i := range paths {
		for _, ref := range v.references(i) {
			if n, ok := in[ref]; ok {
				in[ref] = n + 1
			}
		}
	}
	var levels [][]int32
	var level []int32
	for _, i := range paths {
		if in[i] == 0 {
			level = append(level, i)
		}
	}
	for len(level) > 0 {
		levels = append(levels, level)
		var next []int32
		for _, i := range level {
			delete(in, i)
			for _, ref := range v.references(i) {
				if n, ok := in[ref]; ok {
					if in[ref] = n - 1; n == 1 {
						next = append(next, ref)
					}
				}
			}
		}
		level = next
	}
	var circle []int32
	for _, i := range paths {
		if _, ok := in[i]; ok {
			circle = append(circle, i)
		}
	}
	if len(circle) > 0 {
		levels = append(levels, circle)
	}
	return levels
}

package gc

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// An OverError says that what must stay is larger than the policy allows.
type OverError struct {
	Bytes int64 `json:"bytes"` // of what must stay
	Max   int64 `json:"maxSize"`
}

func (e *OverError) Error() string {
	return fmt.Sprintf("pins and waiting uploads alone keep %d bytes, %d more than the max-size of %d", e.Bytes, e.Bytes-e.Max, e.Max)
}

// A unit goes as a whole when a tree is too large.
type unit struct {
	root  int // in the list of roots
	used  time.Time
	paths []int32
}

// fit lets roots go until what stays is as small as the policy says: those first that
// were used longest ago, and each with all that only it keeps. Pins and what
// waits stay. If these alone are too large, nothing goes: it would not help.
func (p *Plan) fit(roots []root) []root {
	if p.o.Policy == nil || p.o.Policy.MaxSize == 0 {
		return roots
	}
	v, limit := p.v, p.o.Policy.MaxSize
	walk := v.newWalker()
	sum := v.newTally(p.weights)
	all := v.newTally(p.weights)
	for i := range int32(len(v.paths)) {
		all.add(i)
	}
	p.urgent = all.Bytes > limit
	for _, r := range roots {
		if r.kind == rootOfPin || r.kind == rootHeld {
			walk.walk(r.paths, sum.add)
		}
	}
	if sum.Bytes > limit {
		p.Over = &OverError{sum.Bytes, limit}
		return roots
	}
	units := p.units(roots, walk)
	for _, u := range units {
		walk.walk(u.paths, sum.add)
	}
	slices.SortStableFunc(units, func(a, b unit) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.root, b.root))
	})
	for len(units) > 0 && sum.Bytes > limit {
		gone := units[0]
		units = units[1:]
		walk.walk(gone.paths, sum.drop)
		if r := &roots[gone.root]; r.kind == rootOfRun {
			v.idle = append(v.idle, r.lists...)
			p.ForSize = append(p.ForSize, r.name)
		} else {
			p.LooseForSize++
		}
	}
	for i := range roots {
		if k := roots[i].kind; k != rootOfPin && k != rootHeld {
			roots[i].paths = nil
		}
	}
	for _, u := range units {
		roots[u.root].paths = append(roots[u.root].paths, u.paths...)
	}
	return slices.DeleteFunc(roots, func(r root) bool { return r.kind == rootOfRun && r.paths == nil })
}

// units returns what may go, as wholes: each run; and of what is only young, or was
// only read lately, each path that none of the others refers to. A unit was used when
// the newest thing in it was pushed or read.
func (p *Plan) units(roots []root, walk *walker) []unit {
	v := p.v
	var units []unit
	for n, r := range roots {
		switch r.kind {
		case rootOfRun:
			u := unit{n, r.newest, r.paths}
			for _, i := range r.paths {
				u.used = later(u.used, v.readAt(i))
			}
			units = append(units, u)
		case rootYoung, rootUsed:
			in, below := v.newSet(), v.newSet()
			for _, i := range r.paths {
				in.add(i)
				for _, ref := range v.references(i) {
					below.add(ref)
				}
			}
			for _, i := range r.paths {
				if below.has(i) {
					continue
				}
				u := unit{root: n, paths: []int32{i}}
				walk.walk(u.paths, func(i int32) {
					if in.has(i) {
						u.used = later(u.used, later(time.Unix(int64(v.paths[i].born), 0), v.readAt(i)))
					}
				})
				units = append(units, u)
			}
		}
	}
	return units
}

// readAt returns when a path was read last, zero if that is not known.
func (v *view) readAt(i int32) time.Time {
	if v.reads == nil || v.isGhost(i) || v.reads[i] == 0 {
		return time.Time{}
	}
	return time.Unix(int64(v.reads[i]), 0).UTC()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

package gc

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// bytesOf returns what a path takes. A NAR that several have counts for each.
func (v *view) bytesOf(i int32) int64 {
	if v.isGhost(i) {
		return 0
	}
	n := v.paths[i].size()
	if nar := v.nar[i]; nar >= 0 {
		n += v.nars[nar].size
	}
	return n
}

// weigh finds out what is alive, and what each root keeps.
func (p *Plan) weigh(roots []root) {
	v, walk := p.v, p.v.newWalker()
	p.alive = v.newSet()
	live, named := v.newTally(p.weights), v.newTally(p.weights)
	one := v.newSum(p.weights)
	for _, r := range roots {
		row := Root{Name: r.name, Kind: string(r.kind), Newest: r.newest}
		one.begin()
		walk.walk(r.paths, func(i int32) {
			p.alive.add(i)
			live.add(i)
			one.add(i)
			if !r.kind.passes() {
				named.add(i)
			}
			if v.isGhost(i) {
				return
			}
			row.LastUsed = later(row.LastUsed, v.readAt(i))
			if r.newest.IsZero() {
				row.Newest = later(row.Newest, time.Unix(int64(v.paths[i].born), 0))
			}
		})
		row.All = one.Size
		p.Roots = append(p.Roots, row)
	}
	for n, r := range roots {
		// Youth passes: it says nothing of what a pin or a run is worth.
		of := named
		if r.kind.passes() {
			of = live
		}
		before := of.Size
		// A path that several roots keep leads to such paths alone.
		walk.into(r.paths, func(i int32) bool {
			alone := v.isGhost(i) || of.paths[i] == 1
			if alone {
				of.drop(i)
			}
			return alone
		})
		p.Roots[n].Only = Size{before.Count - of.Count, before.Bytes - of.Bytes}
		walk.into(r.paths, func(i int32) bool {
			dropped := v.isGhost(i) || of.paths[i] == 0
			if dropped {
				of.add(i)
			}
			return dropped
		})
	}
	p.Live = live.Size
	p.Roots = slices.DeleteFunc(p.Roots, func(r Root) bool { return r.All.Count == 0 })
	slices.SortStableFunc(p.Roots, func(a, b Root) int { return cmp.Compare(b.Only.Bytes, a.Only.Bytes) })
}

// narsOf returns which NARs the paths that stay lead to.
func (p *Plan) narsOf(stays func(i int32) bool) []bool {
	v := p.v
	led := make([]bool, len(v.nars))
	for i := range int32(len(v.paths)) {
		if !stays(i) {
			continue
		}
		for nar := range v.narsOf(i) {
			led[nar] = true
		}
	}
	return led
}

// exclusive returns what the removal of each path gains: the bytes of a NAR that
// no other path keeps count for the first that has it.
func (p *Plan) exclusive(led []bool) map[int32]int64 {
	v := p.v
	counted := map[int32]bool{}
	gain := make(map[int32]int64, len(p.withdraw))
	for _, i := range p.withdraw {
		gain[i] = v.paths[i].size()
		if nar := v.nar[i]; nar >= 0 && !led[nar] && !counted[nar] {
			counted[nar] = true
			gain[i] += v.nars[nar].size
		}
	}
	return gain
}

// shown is how many paths a plan names unless all are asked for.
const shown = 20

// nameLargest finds out the names of the paths that go, the largest first.
func (p *Plan) nameLargest(ctx context.Context) error {
	order := make([]int, len(p.withdraw))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.Largest[b].Bytes, p.Largest[a].Bytes) })
	if !p.o.NameAll {
		order = order[:min(len(order), shown)]
	}
	items := func(yield func(int, error) bool) {
		for _, n := range order {
			if !yield(n, nil) {
				return
			}
		}
	}
	var named []Going
	names := parallel.InOrder(ctx, p.o.jobs(), items, nil, func(ctx context.Context, n int) (Going, error) {
		going := p.Largest[n]
		key := p.v.id(p.withdraw[n]).NarInfoKey()
		text, err := layout.ReadAll(ctx, p.v.tree, key)
		if errors.Is(err, fs.ErrNotExist) {
			return Going{}, nil
		}
		if err != nil {
			return going, err
		}
		info, err := parseNarInfo(key, text, p.v.storeDir)
		if err == nil {
			going.Path = info.Path
		}
		return going, err
	})
	for going, err := range names {
		if err != nil {
			return err
		}
		if going.Path != "" {
			named = append(named, going)
		}
	}
	p.Largest = named
	return ctx.Err()
}

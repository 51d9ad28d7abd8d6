package gc

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math/bits"
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
	v := p.v
	p.alive, p.Roots = v.newSet(), make([]Root, len(roots))
	var lasting, passing []int
	for n, r := range roots {
		p.Roots[n] = Root{Name: r.name, Kind: string(r.kind), Newest: r.newest}
		if r.kind.passes() {
			passing = append(passing, n)
		} else {
			lasting = append(lasting, n)
		}
	}
	found, held := v.newClosures(), v.newHoldings(p.weights)
	// Youth passes: it says nothing of what a pin or a run is worth.
	for _, some := range [][]int{lasting, passing} {
		for part := range slices.Chunk(some, together) {
			var from [][]int32
			for _, n := range part {
				from = append(from, roots[n].paths)
			}
			found.find(from)
			p.addUp(part, held, found)
		}
		only := make([]Size, len(roots))
		p.Live = held.only(only)
		for _, n := range some {
			p.Roots[n].Only = only[n]
		}
	}
	p.Roots = slices.DeleteFunc(p.Roots, func(r Root) bool { return r.All.Count == 0 })
	slices.SortStableFunc(p.Roots, func(a, b Root) int { return cmp.Compare(b.Only.Bytes, a.Only.Bytes) })
}

// addUp fills in the rows of some roots, whose closures were found.
func (p *Plan) addUp(part []int, held *holdings, found *closures) {
	v := p.v
	var all [together]Size
	var used, born [together]uint32
	for i, by := range found.of {
		if by == 0 {
			continue
		}
		p.alive.add(int32(i))
		if v.isGhost(int32(i)) {
			continue
		}
		bytes, at, read := p.weights.of(int32(i)), v.paths[i].born, uint32(0)
		if v.reads != nil {
			read = v.reads[i]
		}
		for by := by; by != 0; by &= by - 1 {
			n := bits.TrailingZeros64(by)
			all[n].Count++
			all[n].Bytes += bytes
			used[n], born[n] = max(used[n], read), max(born[n], at)
		}
	}
	held.add(part, found.of, func(by uint64, bytes int64) {
		for ; by != 0; by &= by - 1 {
			all[bits.TrailingZeros64(by)].Bytes += bytes
		}
	})
	for n, at := range part {
		row := &p.Roots[at]
		row.All = all[n]
		if used[n] > 0 {
			row.LastUsed = time.Unix(int64(used[n]), 0).UTC()
		}
		if row.Newest.IsZero() && row.All.Count > 0 {
			row.Newest = time.Unix(int64(born[n]), 0)
		}
	}
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

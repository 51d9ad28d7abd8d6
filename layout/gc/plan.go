package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A Size is a number of paths or objects and their bytes.
type Size struct {
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
}

func (s *Size) add(bytes int64) { s.Count++; s.Bytes += bytes }

// A Root is what keeps paths.
type Root struct {
	Name string `json:"name"`
	All  Size   `json:"keeps"`     // that it keeps
	Only Size   `json:"keepsOnly"` // that nothing else keeps
}

// A Going is a path that is withdrawn.
type Going struct {
	Path  layout.StorePath `json:"path"`
	Bytes int64            `json:"bytes"` // of its NAR, if no path that stays has it
}

// A Plan says what a run removes, and why the rest stays.
type Plan struct {
	Before Size   `json:"before"` // paths, and bytes of all objects
	After  Size   `json:"after"`  // of paths; bytes that some path or record leads to
	Roots  []Root `json:"roots"`  // the one that alone keeps most first

	Withdraw Size      `json:"withdraw"` // paths that go now
	Largest  []Going   `json:"paths"`    // of these: the largest, or all if that was asked for
	Undo     time.Time `json:"undoUntil"`
	Reclaim  Size      `json:"reclaim"` // objects that nothing leads to, and that go now
	Waiting  Size      `json:"waiting"` // dead objects that go later
	Due      time.Time `json:"waitingUntil"`

	// Refused is why the plan must not be carried out; nil if it may.
	Refused error `json:"-"`

	v        *view
	o        Options
	alive    set
	keep     *retained
	withdraw []int32
	reclaim  []victim
	docket   docket
	changed  bool // the docket
	fresh    bool // something was read that is not remembered
}

// A victim is an object that nothing leads to, other than a narinfo.
type victim struct {
	key  layout.Key
	tag  uint64
	size int64

	path refgraph.PathID // of a listing, or that a provision is for
	nar  int32           // of a NAR, or that a debug link leads to; else -1
	drv  uint64          // of a log
}

// ErrNoRoots says that nothing in a tree is pinned, so that everything would go
// once it is old.
var ErrNoRoots = errors.New("nothing is pinned")

// A TooMuchError says that more would go than was allowed.
type TooMuchError struct {
	Bytes, Of int64
	Share     float64
}

func (e *TooMuchError) Error() string {
	return fmt.Sprintf("%d of %d bytes would go, more than %g%%", e.Bytes, e.Of, 100*e.Share)
}

// plan looks at a tree and decides.
func plan(ctx context.Context, t layout.Tree, o Options) (*Plan, error) {
	info, err := layout.ReadCacheInfo(ctx, t)
	if err != nil {
		return nil, err
	}
	v, err := see(ctx, t, info.StoreDir, o.now())
	if err != nil {
		return nil, err
	}
	o.Progress.Listed.Store(int64(len(v.paths)))
	p := &Plan{v: v, o: o}
	if p.fresh, err = v.read(ctx, o.jobs(), o.Progress); err != nil {
		return nil, err
	}
	if p.keep, err = v.retains(ctx, o.Undo); err != nil {
		return nil, err
	}
	if err := p.comeBack(ctx); err != nil {
		return nil, err
	}
	roots, pins, err := v.roots(ctx, o.KeepYoung)
	if err != nil {
		return nil, err
	}
	if pins == 0 && !o.NoPins {
		p.Refused = ErrNoRoots
	}
	j := &judge{now: v.now, grace: o.Grace}
	if j.before, err = readDocket(ctx, t); err != nil {
		return nil, err
	}
	p.weigh(roots)
	if err := p.condemn(j); err != nil {
		return nil, err
	}
	if err := p.nameLargest(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// comeBack makes paths young that were withdrawn and are there again. Their
// listings may have stayed all the time.
func (p *Plan) comeBack(ctx context.Context) error {
	v := p.v
	for id := range p.keep.ids {
		i := v.find(id)
		if i < 0 {
			continue
		}
		info, there, err := layout.Lookup(ctx, v.tree, id.NarInfoKey())
		if err != nil {
			return err
		}
		if there {
			v.paths[i].born = max(v.paths[i].born, uint32(max(0, info.ModTime.Unix())))
		}
	}
	return nil
}

// bytesOf returns what a path takes. A NAR that several have counts for each.
func (v *view) bytesOf(i int32) int64 {
	if v.isGhost(i) {
		return 0
	}
	n := int64(v.paths[i].size)
	if nar := v.nar[i]; nar >= 0 {
		n += v.nars[nar].size
	}
	return n
}

// weigh finds out what is alive, and what each root keeps.
func (p *Plan) weigh(roots []root) {
	v := p.v
	p.alive = v.newSet()
	// How many roots keep a path, up to two, and the first of them.
	times := make([]uint8, len(v.paths)+len(v.ghosts))
	first := make([]int32, len(times))
	for n, r := range roots {
		p.Roots = append(p.Roots, Root{Name: r.name})
		v.mark(v.newSet(), r.paths, func(i int32) {
			p.alive.add(i)
			if v.isGhost(i) {
				return
			}
			p.Roots[n].All.add(v.bytesOf(i))
			if times[i] == 0 {
				first[i] = int32(n)
			}
			times[i] = min(2, times[i]+1)
		})
	}
	for i, n := range times {
		if n == 1 {
			p.Roots[first[i]].Only.add(v.bytesOf(int32(i)))
		}
	}
	p.Roots = slices.DeleteFunc(p.Roots, func(r Root) bool { return r.All.Count == 0 })
	slices.SortStableFunc(p.Roots, func(a, b Root) int { return cmp.Compare(b.Only.Bytes, a.Only.Bytes) })
}

// condemn decides what goes.
func (p *Plan) condemn(j *judge) error {
	v, o := p.v, p.o
	p.Before = Size{int64(len(v.paths)), v.size}
	var dead, wait []int32
	for i := range int32(len(v.paths)) {
		if p.alive.has(i) {
			continue
		}
		path := v.paths[i]
		if j.due(sentenced(path.id.NarInfoKey(), path.tag, path.listing)) && !o.ReclaimOnly {
			dead = append(dead, i)
		} else {
			wait = append(wait, i)
		}
	}
	// A path that has to wait keeps all that it leads to waiting.
	stays := v.newSet()
	v.mark(stays, wait, nil)
	p.withdraw = slices.DeleteFunc(dead, stays.has)
	goes := v.newSet()
	for _, i := range p.withdraw {
		goes.add(i)
	}
	for i := range int32(len(v.paths)) {
		if !p.alive.has(i) && !goes.has(i) {
			p.Waiting.add(v.bytesOf(i))
		}
	}
	p.Withdraw.Count = int64(len(p.withdraw))
	p.After.Count = p.Before.Count - p.Withdraw.Count
	p.Undo = v.now.Add(o.Undo)

	nars := p.narsOf(func(i int32) bool { return !goes.has(i) })
	gain := p.exclusive(nars)
	for _, i := range p.withdraw {
		p.Largest = append(p.Largest, Going{Bytes: gain[i]})
		p.Withdraw.Bytes += gain[i]
	}
	unexplained := int64(0)
	for _, victim := range p.victims(goes, nars) {
		if !j.due(sentenced(victim.key, victim.tag)) || o.NoReclaim {
			p.Waiting.add(victim.size)
			continue
		}
		p.reclaim = append(p.reclaim, victim)
		p.Reclaim.add(victim.size)
		if victim.key.Kind() != layout.KindNAR || !p.keep.known[v.nars[victim.nar].id] {
			unexplained += victim.size
		}
	}
	p.After.Bytes = p.Before.Bytes - p.Reclaim.Bytes - p.Withdraw.Bytes
	p.Due = j.first
	p.docket, p.changed = j.verdict()
	if o.Undo <= 0 {
		// The objects of the paths that are withdrawn now are reclaimed at once.
		unexplained = max(0, unexplained-p.Withdraw.Bytes)
		p.After.Bytes = p.Before.Bytes - p.Reclaim.Bytes
		for _, i := range p.withdraw {
			p.After.Bytes -= int64(v.paths[i].size)
		}
	}
	share := cmp.Or(o.MaxRemoval, 0.5)
	if going := p.Withdraw.Bytes + unexplained; p.Refused == nil && float64(going) > share*float64(v.size) {
		p.Refused = &TooMuchError{going, v.size, share}
	}
	return nil
}

// narsOf returns which NARs the paths that stay lead to.
func (p *Plan) narsOf(stays func(i int32) bool) []bool {
	v := p.v
	led := make([]bool, len(v.nars))
	for i := range int32(len(v.paths)) {
		if nar := v.nar[i]; nar >= 0 && stays(i) {
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
		gain[i] = int64(v.paths[i].size)
		if nar := v.nar[i]; nar >= 0 && !led[nar] && !counted[nar] {
			counted[nar] = true
			gain[i] += v.nars[nar].size
		}
	}
	return gain
}

// victims returns the objects that nothing leads to once the paths in goes have
// gone, and that are not young.
func (p *Plan) victims(goes set, led []bool) []victim {
	v, keep := p.v, p.keep
	undo := p.o.Undo > 0
	// With time for an undo, what goes now leaves a record that keeps the rest.
	leads := func(i int32) bool { return undo || !goes.has(i) }
	if undo {
		led = p.narsOf(func(int32) bool { return true })
	}
	for id := range keep.nars {
		if i := v.findNAR(id); i >= 0 {
			led[i] = true
		}
	}
	drvs := map[uint64]bool{}
	provided := v.newSet() // ghosts that are referred to
	for i := range int32(len(v.paths)) {
		if !leads(i) {
			continue
		}
		drvs[v.drv[i]] = true
		for _, ref := range v.references(i) {
			provided.add(ref)
		}
	}
	old := func(born uint32) bool { return !v.young(born, p.o.KeepYoung) }
	var list []victim
	for _, o := range v.others {
		gone := victim{key: o.key, tag: o.tag, size: o.size, nar: -1}
		switch o.key.Kind() {
		case layout.KindLog:
			gone.drv = logTag(string(o.key)[len("log/"):])
			if drvs[gone.drv] || keep.drvs[gone.drv] {
				continue
			}
		case layout.KindDebugInfo:
			if o.lead == elsewhere {
				continue
			}
			if len(o.lead) == len(refgraph.NARID{}) {
				gone.nar = v.findNAR(refgraph.NARID([]byte(o.lead)))
			}
			if gone.nar >= 0 && (led[gone.nar] || !old(v.nars[gone.nar].born)) {
				continue
			}
		case layout.KindRealisation:
			if len(o.lead) == len(refgraph.PathID{}) {
				gone.path = refgraph.PathID([]byte(o.lead))
				if i := v.find(gone.path); i >= 0 && leads(i) {
					continue // it goes with its path
				}
			}
		case layout.KindPrivate:
			gone.path = refgraph.PackPath(o.key.ProvisionHash())
			if i := v.known(gone.path); i >= 0 && provided.has(i) || keep.refs[gone.path] {
				continue
			}
		}
		if old(o.born) {
			list = append(list, gone)
		}
	}
	for _, s := range v.stray {
		if !keep.ids[s.id] && old(s.born) {
			list = append(list, victim{key: s.id.ListingKey(), tag: s.tag, size: s.size, path: s.id, nar: -1})
		}
	}
	if !undo {
		for _, i := range p.withdraw {
			if path := v.paths[i]; path.listing != 0 {
				list = append(list, victim{key: path.id.ListingKey(), tag: path.listing, size: 0, path: path.id, nar: -1})
			}
		}
	}
	for i, n := range v.nars {
		if !led[i] && old(n.born) {
			list = append(list, victim{key: n.id.Key(), tag: n.tag, size: n.size, nar: int32(i)})
		}
	}
	return list
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

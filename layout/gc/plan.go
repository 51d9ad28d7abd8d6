package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
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
	Kind string `json:"kind"`      // pin, root, waiting, young or used
	All  Size   `json:"keeps"`     // that it keeps, each file counted once
	Only Size   `json:"keepsOnly"` // that nothing else keeps; of a pin or run: no other pin or run
	// Newest is when something of it came last; LastUsed when something of it was
	// read last, as far as that is known, to the day.
	Newest   time.Time `json:"newest,omitzero"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
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

	// Unfinished is how many uploads in parts that broke off go. Their bytes are not
	// known, and no listing has them.
	Unfinished int `json:"unfinishedUploads,omitempty"`

	Runs     int `json:"runs"`     // whose lists are in the tree
	RunsKept int `json:"runsKept"` // of these

	// Live is what stays, each file counted once; ForUndo are bytes of files that
	// stay for an undo alone.
	Live    Size  `json:"live"`
	ForUndo int64 `json:"forUndo"`
	// ForSize are the runs that go because the tree would be larger than the policy
	// says, the one used longest ago first; LooseForSize are how many paths, with what
	// they refer to, that no root keeps.
	ForSize      []string `json:"forSize,omitempty"`
	LooseForSize int      `json:"looseForSize,omitempty"`
	// Over says that pins alone are larger than that.
	Over *OverError `json:"over,omitempty"`

	// Refused is why the plan must not be carried out; nil if it may.
	Refused error `json:"-"`

	v        *view
	o        Options
	weights  *weights
	urgent   bool // the tree is larger than its policy says: dead paths go at once
	alive    set
	keep     *retained
	withdraw []int32
	reclaim  []victim
	leftover []layout.Leftover
	docket   docket
	changed  bool // the docket
	overdue  bool // something is due that was not condemned
}

// sentence names the version of a path.
func (v *view) sentence(i int32) uint64 {
	p := v.paths[i]
	return v.sentenced(p.id.NarInfoKey(), p.born, p.tag, p.listing)
}

// sentenceOf names the version of another object.
func (v *view) sentenceOf(gone victim) uint64 { return v.sentenced(gone.key, gone.born, gone.tag) }

// sentenced names a version. The store of a bucket names versions by their bytes, so
// that those that were put again differ by their time alone.
func (v *view) sentenced(key layout.Key, born uint32, tags ...uint64) uint64 {
	if layout.IsFenced(v.tree) {
		tags = append(tags, uint64(born))
	}
	return sentenced(key, tags...)
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
	v, err := look(ctx, t, o)
	if err != nil {
		return nil, err
	}
	p := &Plan{v: v, o: o}
	if p.keep, err = v.retains(ctx, o.Undo); err != nil {
		return nil, err
	}
	if err := p.comeBack(ctx); err != nil {
		return nil, err
	}
	roots, wished, err := v.roots(ctx, o)
	if err != nil {
		return nil, err
	}
	if wished == 0 && !o.NoPins {
		p.Refused = ErrNoRoots
	}
	j := &judge{now: v.now, grace: o.Grace, round: o.round}
	if j.before, err = readDocket(ctx, t); err != nil {
		return nil, err
	}
	p.weights = v.weights()
	roots = p.fit(roots)
	p.Runs = v.runs
	for _, r := range roots {
		if r.kind == rootOfRun {
			p.RunsKept++
		}
	}
	p.weigh(roots)
	if err := p.condemn(j); err != nil {
		return nil, err
	}
	if err := p.findLeftovers(ctx); err != nil {
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

// forUndo returns the bytes of NARs, listings and logs that stay although no path
// leads to them, because an undo may need them.
func (p *Plan) forUndo(goes set) (bytes int64) {
	v := p.v
	if p.o.Undo <= 0 {
		return 0
	}
	stay := v.newTally(p.weights)
	for i := range int32(len(v.paths)) {
		if !goes.has(i) {
			stay.add(i)
		}
	}
	kept := v.newTally(p.weights)
	for i := range int32(len(v.paths)) {
		if goes.has(i) {
			kept.add(i)
		}
	}
	for i, n := range v.nars {
		if stay.nars[i] == 0 && (p.keep.nars[n.id] || kept.nars[i] > 0) {
			bytes += p.weights.nar(int32(i))
		}
	}
	for _, s := range v.stray {
		if p.keep.ids[s.id] {
			bytes += s.size
		}
	}
	return bytes
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
		if due := j.due(v.sentence(i)); (due || p.urgent && j.may(v.sentence(i))) && !o.ReclaimOnly {
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
		grace := j.grace
		if victim.isList() { // an undo may need it, and a policy that is mended
			grace += max(0, o.Undo)
		}
		if !j.dueAfter(v.sentenceOf(victim), grace) || o.NoReclaim {
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
	p.ForUndo = p.forUndo(goes)
	p.overdue = j.overdue
	if o.Undo <= 0 {
		// The objects of the paths that are withdrawn now are reclaimed at once.
		unexplained = max(0, unexplained-p.Withdraw.Bytes)
		p.After.Bytes = p.Before.Bytes - p.Reclaim.Bytes
		for _, i := range p.withdraw {
			p.After.Bytes -= v.paths[i].size()
		}
	}
	share := cmp.Or(o.MaxRemoval, 0.5)
	if going := p.Withdraw.Bytes + unexplained; p.Refused == nil && float64(going) > share*float64(v.size) {
		p.Refused = &TooMuchError{going, v.size, share}
	}
	return nil
}

package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// TakeOptions say how paths are taken out of a tree.
type TakeOptions struct {
	Options
	WithReferrers bool // what refers to them goes too
	Purge         bool // their bytes go now, and nothing can be brought back
	Dry           bool // nothing goes

	// In a bucket the paths are condemned, and go when all writers know: after an
	// hour. Waits is told until when, and with the zero time when that is over. With
	// NoWait Take returns instead, and another one goes on later.
	Waits  func(until time.Time)
	NoWait bool
}

// Taken is what was taken out of a tree, or would be.
type Taken struct {
	Paths  []layout.StorePath `json:"paths"`
	Purged []layout.Key       `json:"purged,omitempty"`
	Run    Run                `json:"run"`
}

// A ReferredError says that a path cannot go alone.
type ReferredError struct {
	Path layout.StorePath
	By   []layout.StorePath // some of them
	More int
}

func (e *ReferredError) Error() string {
	text := fmt.Sprintf("%s is referred to by", e.Path)
	for _, p := range e.By {
		text += " " + string(p)
	}
	if e.More > 0 {
		text += fmt.Sprintf(" and %d more", e.More)
	}
	return text
}

// A PinnedError says that a pin names a path that was to go.
type PinnedError struct {
	Path layout.StorePath
	Pin  string // "pin host-a@3"
}

func (e *PinnedError) Error() string { return fmt.Sprintf("%s keeps %s", e.Pin, e.Path) }

// A SharedError says that the bytes of a path cannot go alone: another path has
// the same NAR.
type SharedError struct{ Path, With layout.StorePath }

func (e *SharedError) Error() string {
	return fmt.Sprintf("%s has the same NAR as %s", e.With, e.Path)
}

// Take withdraws paths that an operator names, whatever keeps them but a pin. It
// is an error if something that stays refers to one.
func Take(ctx context.Context, t layout.Tree, paths []layout.StorePath, o TakeOptions) (done Taken, err error) {
	o.Progress = orNew(o.Progress)
	if err := open(ctx, t); err != nil {
		return done, err
	}
	if o.Dry {
		_, err = planTake(ctx, t, paths, o, &done)
		return done, err
	}
	work := func(ctx context.Context) error {
		if layout.IsFenced(t) {
			return takeFenced(ctx, t, paths, o, &done)
		}
		p, err := planTake(ctx, t, paths, o, &done)
		if err == nil {
			done.Run, err = p.takeOut(ctx, o.Purge)
		}
		return err
	}
	err = (&lock.Lock{Tree: t, Try: true}).Do(ctx, work)
	return done, err
}

// planTake looks at the tree, and says what goes.
func planTake(ctx context.Context, t layout.Tree, paths []layout.StorePath, o TakeOptions, done *Taken) (*Plan, error) {
	*done = Taken{}
	have, err := layout.ReadSweepPlan(ctx, t)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	o.KeepYoung = time.Duration(have.KeepYoung) * time.Second // stays as it is
	v, err := look(ctx, t, o.Options)
	if err != nil {
		return nil, err
	}
	p := &Plan{v: v, o: o.Options}
	// By the widest of rules, what a record still knows is retained.
	if p.keep, err = v.retains(ctx, 1<<62); err != nil {
		return nil, err
	}
	if !o.Purge {
		p.Undo = v.now.Add(o.Undo)
	}
	var gone []refgraph.PathID // that are withdrawn already, and are to be purged
	for _, path := range paths {
		id := refgraph.PackPath(path.Hash())
		switch i := v.find(id); {
		case i >= 0:
			p.withdraw = append(p.withdraw, i)
		case o.Purge && p.keep.ids[id]:
			gone = append(gone, id)
		default:
			return nil, &MissingPathError{path}
		}
	}
	if o.WithReferrers {
		above := v.above(p.withdraw)
		p.withdraw = nil
		for i := range int32(len(v.paths)) {
			if above.has(i) {
				p.withdraw = append(p.withdraw, i)
			}
		}
	}
	slices.Sort(p.withdraw)
	p.withdraw = slices.Compact(p.withdraw)
	if err := p.mayGo(ctx); err != nil {
		return nil, err
	}
	if o.Purge {
		if err := p.purge(ctx, gone); err != nil {
			return nil, err
		}
	}
	for _, i := range p.withdraw {
		path, err := v.pathOf(ctx, i)
		if err != nil {
			return nil, err
		}
		done.Paths = append(done.Paths, path)
	}
	for _, gone := range p.reclaim {
		done.Purged = append(done.Purged, gone.key)
	}
	return p, nil
}

// mayGo refuses to take what a pin names, and what something refers to that
// stays.
func (p *Plan) mayGo(ctx context.Context) error {
	v := p.v
	going := v.newSet()
	for _, i := range p.withdraw {
		going.add(i)
	}
	pins, err := ReadPins(ctx, v.tree)
	if err != nil {
		return err
	}
	for _, pin := range pins {
		for _, g := range pin.Kept(v.now) {
			for _, path := range g.Paths {
				if i := v.find(refgraph.PackPath(path.Hash())); i >= 0 && going.has(i) {
					return &PinnedError{path, fmt.Sprintf("pin %s@%d", pin.Name, g.Number)}
				}
			}
		}
	}
	by := map[int32][]int32{}
	for i := range int32(len(v.paths)) {
		if going.has(i) {
			continue
		}
		for _, ref := range v.references(i) {
			if going.has(ref) {
				by[ref] = append(by[ref], i)
			}
		}
	}
	const named = 5
	for _, i := range p.withdraw {
		if len(by[i]) == 0 {
			continue
		}
		e := &ReferredError{More: max(0, len(by[i])-named)}
		if e.Path, err = v.pathOf(ctx, i); err != nil {
			return err
		}
		for _, by := range by[i][:min(len(by[i]), named)] {
			path, err := v.pathOf(ctx, by)
			if err != nil {
				return err
			}
			e.By = append(e.By, path)
		}
		return e
	}
	return nil
}

// purge adds to a plan all that the paths which go have for themselves.
func (p *Plan) purge(ctx context.Context, gone []refgraph.PathID) error {
	v := p.v
	going := v.newSet()
	nars, drvs := map[int32]bool{}, map[uint64]bool{}
	ids := map[refgraph.PathID]bool{}
	for _, i := range p.withdraw {
		going.add(i)
		ids[v.id(i)] = true
		drvs[v.drv[i]] = true
		for nar := range v.narsOf(i) {
			nars[nar] = true
		}
	}
	for _, id := range gone {
		ids[id] = true
		l, err := p.recorded(ctx, id)
		if err != nil {
			return err
		}
		drvs[l.drv] = true
		for _, id := range l.nars {
			if nar := v.findNAR(id); nar >= 0 {
				nars[nar] = true
			}
		}
	}
	for i := range int32(len(v.paths)) {
		if going.has(i) {
			continue
		}
		delete(drvs, v.drv[i])
		for nar := range v.narsOf(i) {
			if nars[nar] {
				return p.shared(ctx, i, nar)
			}
		}
	}
	for i := range v.paths {
		if path := v.paths[i]; going.has(int32(i)) && path.listing != 0 {
			p.reclaim = append(p.reclaim, victim{key: path.id.ListingKey(), tag: path.listing, born: path.born, path: path.id, nar: -1})
		}
	}
	for _, s := range v.stray {
		if ids[s.id] {
			p.reclaim = append(p.reclaim, victim{key: s.id.ListingKey(), tag: s.tag, born: s.born, path: s.id, nar: -1})
		}
	}
	for _, o := range v.others {
		gone := victim{key: o.key, tag: o.tag, size: o.size, born: o.born, nar: -1}
		switch o.key.Kind() {
		case layout.KindLog:
			gone.drv = logTag(string(o.key)[len(layout.LogFolder):])
			if drvs[gone.drv] && gone.drv != 0 {
				p.reclaim = append(p.reclaim, gone)
			}
		case layout.KindDebugInfo:
			if len(o.lead) == len(refgraph.NARID{}) {
				if gone.nar = v.findNAR(refgraph.NARID([]byte(o.lead))); gone.nar >= 0 && nars[gone.nar] {
					p.reclaim = append(p.reclaim, gone)
				}
			}
		}
	}
	for i, n := range v.nars {
		if nars[int32(i)] {
			p.reclaim = append(p.reclaim, victim{key: v.narKey(int32(i)), tag: n.tag, size: n.size, born: n.born, nar: int32(i)})
		}
	}
	return nil
}

// recorded returns where a path leads that was withdrawn.
func (p *Plan) recorded(ctx context.Context, id refgraph.PathID) (lead, error) {
	records, err := Records(ctx, p.v.tree)
	if err != nil {
		return lead{}, err
	}
	for _, r := range slices.Backward(records) {
		for w, err := range r.Read(ctx, p.v.tree) {
			if err != nil {
				return lead{}, err
			}
			if w.Key != id.NarInfoKey() {
				continue
			}
			n, err := parseNarInfo(w.Key, []byte(w.Text), p.v.storeDir)
			if err != nil {
				return lead{}, err
			}
			return leadsOf(n), nil
		}
	}
	return lead{}, fmt.Errorf("%s: %w", id.Hash(), ErrNothingWithdrawn)
}

// shared names two paths with one NAR, of which one is to stay.
func (p *Plan) shared(ctx context.Context, stays, nar int32) error {
	e := &SharedError{}
	var err error
	if e.With, err = p.v.pathOf(ctx, stays); err != nil {
		return err
	}
	for _, i := range p.withdraw {
		if slices.Contains(slices.Collect(p.v.narsOf(i)), nar) {
			if e.Path, err = p.v.pathOf(ctx, i); err != nil {
				return err
			}
		}
	}
	return e
}

// takeOut carries the plan out. With purge no record is left.
func (p *Plan) takeOut(ctx context.Context, purge bool) (Run, error) {
	s, err := p.begin(ctx)
	if err != nil {
		return Run{}, err
	}
	s.unrecorded = purge
	if err := s.withdrawAll(ctx); err != nil {
		return Run{}, err
	}
	for some := range slices.Chunk(p.reclaim, turn) {
		if err := s.reclaimTurn(ctx, some); err != nil {
			return Run{}, err
		}
	}
	return s.finish(ctx)
}

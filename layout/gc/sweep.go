package gc

import (
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

const (
	// turn is how many objects go while writers are kept out.
	turn = 5000
	// between is how long writers have between two turns: more than they wait
	// before they ask again.
	between = 50 * time.Millisecond
)

// A sweep carries out a plan.
type sweep struct {
	*Plan
	state layout.SweepPlan
	begun time.Time
	part  int // of the record
	// unrecorded: what goes can never come back.
	unrecorded bool

	went      map[int32]bool // paths that were withdrawn
	withdrew  Size
	reclaimed Size
	kept      int64
}

// Switches that only tests set: each takes one step out of the protocol, and a
// search over the orders of operations has to find what breaks.
var without struct {
	Exclude, Announce, Recheck, Closure, Renewed, Order, Records, Versions bool
}

// alone does work while no writer is publishing, after it has looked at what
// they have published since the plan was made. It announces the work
// first, so that writers look again at what they saw.
func (s *sweep) alone(ctx context.Context, work func(context.Context, *changes) error) error {
	if !without.Exclude {
		leave, err := layout.Exclude(ctx, s.v.tree)
		if err != nil {
			return err
		}
		defer leave()
	}
	// Dying after this leaves writers that look once more, for nothing.
	if !without.Announce {
		if err := s.announce(ctx); err != nil {
			return err
		}
	}
	c, err := s.recheck(ctx)
	if err != nil {
		return err
	}
	return work(ctx, c)
}

// pause lets writers in between two turns.
func pause(ctx context.Context) error {
	timer := time.NewTimer(between)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// withdrawAll withdraws the paths of the plan: each before all that it refers to.
func (s *sweep) withdrawAll(ctx context.Context) error {
	s.went = map[int32]bool{}
	realisations := s.realisations()
	var turnOf [][]int32
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		err := s.withdrawTurn(ctx, turnOf, realisations)
		turnOf, n = nil, 0
		return err
	}
	levels := s.v.levels(s.withdraw)
	if without.Order {
		slices.Reverse(levels)
	}
	for _, level := range levels {
		for len(level) > 0 {
			some := level[:min(len(level), turn-n)]
			level = level[len(some):]
			turnOf, n = append(turnOf, some), n+len(some)
			if n < turn {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	return flush()
}

// realisations returns those that lead to the paths of the plan.
func (s *sweep) realisations() map[int32][]otherEntry {
	going := s.v.newSet()
	for _, i := range s.withdraw {
		going.add(i)
	}
	of := map[int32][]otherEntry{}
	for _, o := range s.v.others {
		if o.key.Kind() != layout.KindRealisation || len(o.lead) != len(refgraph.PathID{}) {
			continue
		}
		if i := s.v.find(refgraph.PathID([]byte(o.lead))); i >= 0 && going.has(i) {
			of[i] = append(of[i], o)
		}
	}
	return of
}

// withdrawTurn withdraws some paths, level by level, with the realisations that
// lead to them.
//
// Dying before the record is written leaves everything as it was. After that, the
// record tells of paths that are still there, which an undo passes over. Once the
// first narinfo goes, those that are left have all that they lead to (I2, I3).
func (s *sweep) withdrawTurn(ctx context.Context, levels [][]int32, realisations map[int32][]otherEntry) error {
	texts, err := s.texts(ctx, levels, realisations)
	if err != nil {
		return err
	}
	return s.alone(ctx, func(ctx context.Context, c *changes) error {
		var groups [][]layout.Key
		var first []layout.Key // realisations
		var list []Withdrawn
		var paths []int32
		for _, level := range levels {
			var group []layout.Key
			for _, i := range level {
				key := s.v.id(i).NarInfoKey()
				text, there := texts[key]
				if !there {
					continue // another program removed it
				}
				if c.paths.has(i) {
					s.kept++
					continue
				}
				for _, o := range realisations[i] {
					same, err := s.unchanged(ctx, o.key, o.tag)
					if err != nil {
						return err
					}
					if text, read := texts[o.key]; same && read {
						first = append(first, o.key)
						list = append(list, Withdrawn{o.key, text})
					}
				}
				group = append(group, key)
				list = append(list, Withdrawn{key, text})
				paths = append(paths, i)
			}
			groups = append(groups, group)
		}
		if len(paths) == 0 {
			return nil
		}
		if !s.unrecorded && !without.Records {
			var err error
			if s.part, err = record(ctx, s.v.tree, s.state.Epoch, s.part, list); err != nil {
				return err
			}
		}
		if err := layout.DeleteBatch(ctx, s.v.tree, append([][]layout.Key{first}, groups...)...); err != nil {
			return err
		}
		for _, i := range paths {
			s.went[i] = true
			s.withdrew.add(s.v.bytesOf(i))
		}
		s.o.Progress.Withdrawn.Add(int64(len(paths)))
		return nil
	})
}

// texts reads what is about to go. A version that is read here and another one
// that goes would make the record wrong: alone compares them.
func (s *sweep) texts(ctx context.Context, levels [][]int32, realisations map[int32][]otherEntry) (map[layout.Key]string, error) {
	keys := func(yield func(layout.Key, error) bool) {
		for _, level := range levels {
			for _, i := range level {
				if !yield(s.v.id(i).NarInfoKey(), nil) {
					return
				}
				for _, o := range realisations[i] {
					if !yield(o.key, nil) {
						return
					}
				}
			}
		}
	}
	type read struct {
		key  layout.Key
		text []byte
	}
	texts := map[layout.Key]string{}
	for r, err := range parallel.InOrder(ctx, s.o.jobs(), keys, nil, func(ctx context.Context, key layout.Key) (read, error) {
		text, err := layout.ReadAll(ctx, s.v.tree, key)
		if errors.Is(err, fs.ErrNotExist) {
			return read{key: key}, nil
		}
		return read{key, text}, err
	}) {
		if err != nil {
			return nil, err
		}
		if r.text != nil {
			texts[r.key] = string(r.text)
		}
	}
	return texts, ctx.Err()
}

// unchanged reports whether an object has the version that the plan knows.
func (s *sweep) unchanged(ctx context.Context, key layout.Key, tag uint64) (bool, error) {
	if without.Versions {
		return true, nil
	}
	info, there, err := layout.Lookup(ctx, s.v.tree, key)
	return there && tagOf(info.ETag) == tag, err
}

// reclaimAll removes the objects of the plan that nothing leads to, NARs last.
func (s *sweep) reclaimAll(ctx context.Context) error {
	if s.o.Undo <= 0 && len(s.went) < len(s.withdraw) {
		// Some of the paths whose objects were to go at once have stayed.
		goes := s.v.newSet()
		for i := range s.went {
			goes.add(i)
		}
		still := map[layout.Key]bool{}
		for _, gone := range s.victims(goes, s.narsOf(func(i int32) bool { return !goes.has(i) })) {
			still[gone.key] = true
		}
		s.reclaim = slices.DeleteFunc(s.reclaim, func(gone victim) bool { return !still[gone.key] })
	}
	if without.Order {
		slices.Reverse(s.reclaim)
	}
	for n := 0; n < len(s.reclaim); n += turn {
		if n > 0 {
			if err := pause(ctx); err != nil {
				return err
			}
		}
		if err := s.reclaimTurn(ctx, s.reclaim[n:min(len(s.reclaim), n+turn)]); err != nil {
			return err
		}
	}
	return s.forget(ctx)
}

// reclaimTurn removes some objects. Dying in it leaves objects that nothing leads
// to.
func (s *sweep) reclaimTurn(ctx context.Context, some []victim) error {
	return s.alone(ctx, func(ctx context.Context, c *changes) error {
		var rest, nars []layout.Key
		for _, gone := range some {
			same, err := s.unchanged(ctx, gone.key, gone.tag)
			if err != nil {
				return err
			}
			if !same || c.wants(gone) {
				continue
			}
			if gone.key.Kind() == layout.KindNAR {
				nars = append(nars, gone.key)
			} else {
				rest = append(rest, gone.key)
			}
			s.reclaimed.add(gone.size)
		}
		if err := layout.DeleteBatch(ctx, s.v.tree, rest, nars); err != nil {
			return err
		}
		s.o.Progress.Reclaimed.Add(int64(len(rest) + len(nars)))
		return nil
	})
}

// forget removes the records that can bring nothing back any more.
func (s *sweep) forget(ctx context.Context) error {
	var keys []layout.Key
	for _, r := range s.keep.expired {
		keys = append(keys, r.Key)
	}
	if s.o.Undo <= 0 {
		for part := range s.part {
			keys = append(keys, recordKey(s.state.Epoch, part))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return layout.DeleteBatch(ctx, s.v.tree, keys)
}

// changes are what was published since a plan was made, and what that leads to.
type changes struct {
	v     *view
	paths set // that stay for it, of those that the view knows
	ids   map[refgraph.PathID]bool
	nars  map[refgraph.NARID]bool
	drvs  map[uint64]bool
	refs  map[refgraph.PathID]bool
}

// recheck looks for what has changed. No writer publishes meanwhile.
func (s *sweep) recheck(ctx context.Context) (*changes, error) {
	v := s.v
	c := &changes{v: v, paths: v.newSet(), ids: map[refgraph.PathID]bool{}, nars: map[refgraph.NARID]bool{},
		drvs: map[uint64]bool{}, refs: map[refgraph.PathID]bool{}}
	if without.Recheck {
		return c, nil
	}
	now := &view{tree: v.tree, storeDir: v.storeDir, now: v.now.Add(24 * time.Hour)} // no clock is compared here
	for entry, err := range layout.ListTop(ctx, v.tree) {
		if err == nil && entry.Folder == "" {
			err = now.take(entry.Info)
		}
		if err != nil {
			return nil, fmt.Errorf("list the tree: %w", err)
		}
	}
	now.tidy()
	at := 0
	for _, p := range now.paths {
		for at < len(v.paths) && string(v.paths[at].id[:]) < string(p.id[:]) {
			at++
		}
		known := at < len(v.paths) && v.paths[at].id == p.id
		if known && v.paths[at].tag == p.tag && (v.paths[at].listing == p.listing || without.Renewed) {
			continue
		}
		if known && without.Renewed {
			continue
		}
		if err := c.add(ctx, p.id); err != nil {
			return nil, err
		}
	}
	pins, err := ReadPins(ctx, v.tree)
	if err != nil {
		return nil, err
	}
	for _, pin := range pins {
		for _, g := range pin.Kept(v.now) {
			for _, p := range g.Paths {
				c.keep(refgraph.PackPath(p.Hash()))
			}
		}
	}
	held, err := v.heldLeads(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range held {
		c.lead(l)
	}
	return c, ctx.Err()
}

// add keeps a path that is new or was changed, and what it leads to now.
func (c *changes) add(ctx context.Context, id refgraph.PathID) error {
	l, err := c.v.readNarInfo(ctx, id)
	if err != nil {
		return err
	}
	c.keep(id)
	if !without.Closure {
		c.lead(l)
	}
	return nil
}

// lead keeps what a narinfo leads to.
func (c *changes) lead(l lead) {
	c.nars[l.nar] = true
	c.drvs[l.drv] = true
	for _, ref := range l.refs {
		c.refs[ref] = true
		c.keep(ref)
	}
}

// keep keeps a path and what it leads to as far as the view knows.
func (c *changes) keep(id refgraph.PathID) {
	c.ids[id] = true
	i := c.v.find(id)
	if i < 0 {
		return
	}
	if without.Closure {
		c.paths.add(i)
		return
	}
	c.v.mark(c.paths, []int32{i}, func(i int32) {
		c.ids[c.v.id(i)] = true
		c.refs[c.v.id(i)] = true
		if c.v.isGhost(i) {
			return
		}
		c.nars[c.v.narIDs(i)] = true
		c.drvs[c.v.drv[i]] = true
	})
}

// wants reports whether something that was published since leads to an object.
func (c *changes) wants(gone victim) bool {
	switch gone.key.Kind() {
	case layout.KindNAR:
		return c.nars[c.v.nars[gone.nar].id]
	case layout.KindDebugInfo:
		return gone.nar >= 0 && c.nars[c.v.nars[gone.nar].id]
	case layout.KindListing, layout.KindRealisation:
		return c.ids[gone.path]
	case layout.KindLog:
		return c.drvs[gone.drv]
	case layout.KindPrivate:
		return c.refs[gone.path]
	}
	return true
}

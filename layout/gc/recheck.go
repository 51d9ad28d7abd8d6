package gc

import (
	"context"
	"fmt"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// changes are what was published since a plan was made, and what that leads to.
type changes struct {
	v     *view
	paths set // that stay for it, of those that the view knows
	ids   map[refgraph.PathID]bool
	nars  map[refgraph.NARID]bool
	drvs  map[uint64]bool
	refs  map[refgraph.PathID]bool
	keys  map[layout.Key]bool // that were named as they are
}

func newChanges(v *view) *changes {
	return &changes{v: v, paths: v.newSet(), ids: map[refgraph.PathID]bool{}, nars: map[refgraph.NARID]bool{},
		drvs: map[uint64]bool{}, refs: map[refgraph.PathID]bool{}, keys: map[layout.Key]bool{}}
}

// note keeps what a writer relies on, and what that leads to.
func (c *changes) note(key layout.Key) {
	c.keys[key] = true
	switch key.Kind() {
	case layout.KindNarInfo, layout.KindListing:
		c.keep(refgraph.PackPath(key.PathHash()))
	case layout.KindNAR:
		c.nars[narID(key)] = true
	case layout.KindPrivate:
		if hash := key.ProvisionHash(); hash != "" {
			c.refs[refgraph.PackPath(hash)] = true
		}
	}
}

// recheck looks for what has changed. No writer publishes meanwhile.
func (s *sweep) recheck(ctx context.Context) (*changes, error) {
	v := s.v
	c := newChanges(v)
	if without.Recheck {
		return c, nil
	}
	changed, err := s.changedPaths(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range changed {
		if err := c.add(ctx, id); err != nil {
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
	if err := c.newLists(ctx); err != nil {
		return nil, err
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

// changedPaths lists the narinfos that are new or were replaced since the view was made,
// and those whose listing was: they were renewed.
func (s *sweep) changedPaths(ctx context.Context) (changed []refgraph.PathID, err error) {
	v := s.v
	at := 0
	var listing struct {
		id  refgraph.PathID
		tag uint64
	}
	for entry, err := range layout.ListTop(ctx, v.tree) {
		if err != nil {
			return nil, fmt.Errorf("list the cache: %w", err)
		}
		kind := entry.Key.Kind()
		if entry.Folder != "" || kind != layout.KindNarInfo && kind != layout.KindListing {
			continue
		}
		now, err := v.sightingOf(entry.Info)
		if err != nil {
			return nil, err
		}
		id := refgraph.PackPath(entry.Key.PathHash())
		if kind == layout.KindListing { // it comes first
			listing.id, listing.tag = id, now.tag
			continue
		}
		if listing.id != id {
			listing.tag = 0
		}
		for at < len(v.paths) && string(v.paths[at].id[:]) < string(id[:]) {
			at++
		}
		known := at < len(v.paths) && v.paths[at].id == id
		if known && v.paths[at].tag == now.tag && !v.gone.has(int32(at)) && (v.paths[at].listing == listing.tag || without.Renewed) {
			continue
		}
		if known && without.Renewed {
			continue
		}
		changed = append(changed, id)
	}
	return changed, nil
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
	for _, nar := range l.nars {
		c.nars[nar] = true
	}
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
		for _, nar := range c.v.narIDs(i) {
			c.nars[nar] = true
		}
		c.drvs[c.v.drv[i]] = true
	})
}

// wants reports whether something that was published since leads to an object.
func (c *changes) wants(gone victim) bool {
	if c.keys[gone.key] {
		return true
	}
	if gone.over {
		return false
	}
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

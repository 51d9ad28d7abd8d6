package gc

import (
	"context"
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// retained is what is kept for the sake of an undo.
type retained struct {
	ids  map[refgraph.PathID]bool // of paths that were withdrawn
	nars map[refgraph.NARID]bool
	drvs map[uint64]bool
	refs map[refgraph.PathID]bool

	expired []Record // that keep nothing any more
	known   map[refgraph.NARID]bool
}

// retains reads the records of a tree.
func (v *view) retains(ctx context.Context, undo time.Duration) (*retained, error) {
	r := &retained{ids: map[refgraph.PathID]bool{}, nars: map[refgraph.NARID]bool{}, drvs: map[uint64]bool{},
		refs: map[refgraph.PathID]bool{}, known: map[refgraph.NARID]bool{}}
	records, err := Records(ctx, v.tree)
	if err != nil {
		return nil, err
	}
	for _, rec := range records {
		old := v.now.Sub(rec.Time) >= undo
		if old {
			r.expired = append(r.expired, rec)
		}
		for w, err := range rec.Read(ctx, v.tree) {
			if err != nil {
				return nil, err
			}
			if w.Key.Kind() != layout.KindNarInfo {
				continue
			}
			n, err := parseNarInfo(w.Key, []byte(w.Text), v.storeDir)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rec.Key, err)
			}
			l := leadsOf(n)
			for _, nar := range l.nars {
				r.known[nar] = true
			}
			if !old {
				r.keep(n, l)
			}
		}
	}
	return r, nil
}

func (r *retained) keep(n *layout.NarInfo, l lead) {
	r.ids[refgraph.PackPath(n.Path.Hash())] = true
	for _, nar := range l.nars {
		r.nars[nar] = true
	}
	r.drvs[l.drv] = true
	for _, ref := range l.refs {
		r.refs[ref] = true
	}
}

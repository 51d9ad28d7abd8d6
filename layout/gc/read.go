package gc

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// read finds out where all narinfos and other objects of a view lead, from what
// is remembered where that still holds. A narinfo that cannot be read is an
// error: what it leads to would be taken for dead. It reports whether anything was new.
func (v *view) read(ctx context.Context, jobs int, progress *Progress) (fresh bool, err error) {
	m, err := recall(ctx, v.tree)
	if err != nil {
		return false, err
	}
	defer func() { m.close() }()
	if m.err != nil {
		m.close()
		m = &memory{close: func() {}}
	}
	fresh, err = v.readPaths(ctx, m, jobs, progress)
	if err != nil {
		return false, err
	}
	others, err := v.readOthers(ctx, m, jobs)
	if err != nil {
		return false, err
	}
	return fresh || others || m.paths != len(v.paths), nil
}

// A pathRead is what is known of one narinfo.
type pathRead struct {
	number int
	lead   *lead
	fresh  bool
	gone   bool
}

func (v *view) readPaths(ctx context.Context, m *memory, jobs int, progress *Progress) (fresh bool, err error) {
	v.from = make([]uint32, 1, len(v.paths)+1)
	v.nar = make([]int32, 0, len(v.paths))
	v.drv = make([]uint64, 0, len(v.paths))
	items := func(yield func(pathRead, error) bool) {
		for i, p := range v.paths {
			item := pathRead{number: i}
			if known, ok := m.path(p); ok {
				copied := *known
				copied.refs = append([]refgraph.PathID(nil), known.refs...)
				item.lead = &copied
			}
			if !yield(item, nil) {
				return
			}
		}
	}
	read := parallel.InOrder(ctx, jobs, items,
		func(item pathRead) (pathRead, bool) { return item, item.lead != nil },
		func(ctx context.Context, item pathRead) (pathRead, error) {
			item.fresh = true
			l, err := v.readNarInfo(ctx, v.paths[item.number].id)
			if errors.Is(err, fs.ErrNotExist) {
				item.gone = true // another program removed it, with all that needed it
				return item, nil
			}
			item.lead = &l
			return item, err
		})
	for item, err := range read {
		if err != nil {
			return false, err
		}
		progress.Read.Add(1)
		nar := int32(-1)
		if item.fresh {
			fresh = true
		}
		drv := uint64(0)
		if !item.gone {
			for _, ref := range item.lead.refs {
				v.refs = append(v.refs, v.number(ref))
			}
			nar, drv = v.findNAR(item.lead.nar), item.lead.drv
			if nar < 0 {
				v.lost(int32(item.number), item.lead.nar)
			}
		}
		v.from = append(v.from, uint32(len(v.refs)))
		v.nar = append(v.nar, nar)
		v.drv = append(v.drv, drv)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return fresh, nil
}

func (v *view) readNarInfo(ctx context.Context, id refgraph.PathID) (lead, error) {
	key := id.NarInfoKey()
	text, err := layout.ReadAll(ctx, v.tree, key)
	if err != nil {
		return lead{}, err
	}
	n, err := parseNarInfo(key, text, v.storeDir)
	if err != nil {
		return lead{}, err
	}
	return leadsOf(n), nil
}

// lost notes the NAR of a path whose NAR was not listed: it may have come since.
func (v *view) lost(i int32, nar refgraph.NARID) {
	if v.unlisted == nil {
		v.unlisted = map[int32]refgraph.NARID{}
	}
	v.unlisted[i] = nar
}

// narIDs returns the NAR of a path.
func (v *view) narIDs(i int32) refgraph.NARID {
	if at := v.nar[i]; at >= 0 {
		return v.nars[at].id
	}
	return v.unlisted[i]
}

// readOthers finds out where debug links and realisations lead. An object
// that makes no sense leads nowhere, for clients neither.
func (v *view) readOthers(ctx context.Context, m *memory, jobs int) (fresh bool, err error) {
	known, done := iter.Pull(m.rest())
	defer done()
	have, more := known()
	var unknown []int
	for i := range v.others {
		o := &v.others[i]
		if kind := o.key.Kind(); kind != layout.KindDebugInfo && kind != layout.KindRealisation {
			continue
		}
		for more && have.key < o.key {
			have, more = known()
		}
		if more && have.key == o.key && have.tag == o.tag {
			o.lead = have.lead
		} else {
			unknown = append(unknown, i)
		}
	}
	items := func(yield func(int, error) bool) {
		for _, i := range unknown {
			if !yield(i, nil) {
				return
			}
		}
	}
	err = parallel.Each(ctx, jobs, items, func(ctx context.Context, i int) error {
		o := &v.others[i]
		text, err := layout.ReadAll(ctx, v.tree, o.key)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, layout.ErrTooLarge):
			return nil
		case err != nil:
			return err
		}
		o.lead = leadOf(o.key, text)
		return nil
	})
	return len(unknown) > 0, err
}

// The leads of objects that lead nowhere, and to a NAR that is never removed.
const (
	nowhere   = "-"
	elsewhere = "+"
)

func leadOf(key layout.Key, text []byte) string {
	if key.Kind() == layout.KindDebugInfo {
		if _, nar, err := layout.ParseDebugLink(key, text); err == nil {
			if id, ok := refgraph.PackNAR(nar); ok {
				return string(id[:])
			}
			return elsewhere
		}
		return nowhere
	}
	if r, err := layout.ParseRealisation(key, text); err == nil {
		id := refgraph.PackPath(r.OutPath.Hash())
		return string(id[:])
	}
	return nowhere
}

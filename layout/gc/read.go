package gc

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// read finds out where all narinfos and other objects of a view lead, from what
// is remembered where that still holds. A narinfo that cannot be read is an
// error: what it leads to would be taken for dead.
func (v *view) read(ctx context.Context, o Options) error {
	m := recall(o.Memory)
	defer m.close()
	fresh, err := v.readPaths(ctx, m, o)
	if err != nil {
		return err
	}
	others, err := v.readOthers(ctx, m, o.jobs())
	if err != nil {
		return err
	}
	if fresh || others || m.paths != len(v.paths) {
		v.remember(o.Memory)
	}
	return nil
}

// A pathRead is what is known of one narinfo.
type pathRead struct {
	number     int
	lead       *lead
	remembered *lead // which is read again
	read, gone bool
}

// sampled is how many narinfos that are remembered come to one that is read again
// all the same: a tree that does not change the version of what changes is found out.
const sampled = 100

func (v *view) readPaths(ctx context.Context, m *memory, o Options) (fresh bool, err error) {
	v.gone = make(set, (len(v.paths)+63)/64)
	sample := rand.IntN(sampled)
	v.from = make([]uint32, 1, len(v.paths)+1)
	v.nar = make([]int32, 0, len(v.paths))
	v.drv = make([]uint64, 0, len(v.paths))
	items := func(yield func(pathRead, error) bool) {
		for i, p := range v.paths {
			item := pathRead{number: i}
			if known, ok := m.path(p); ok {
				copied := *known
				copied.refs, copied.nars = slices.Clone(known.refs), slices.Clone(known.nars)
				if i%sampled == sample && i < len(v.paths)/sampled*sampled {
					item.remembered = &copied
				} else {
					item.lead = &copied
				}
			}
			if !yield(item, nil) {
				return
			}
		}
	}
	read := parallel.InOrder(ctx, o.jobs(), items,
		func(item pathRead) (pathRead, bool) { return item, item.lead != nil },
		func(ctx context.Context, item pathRead) (pathRead, error) {
			path := v.paths[item.number]
			item.read = true
			l, err := v.readNarInfo(ctx, path.id)
			if errors.Is(err, fs.ErrNotExist) {
				item.gone = true // another program removed it, with all that needed it
				return item, nil
			}
			if err == nil && item.remembered != nil && !l.equal(*item.remembered) {
				err = v.belied(ctx, path, o.Memory)
			}
			item.lead = &l
			return item, err
		})
	for item, err := range read {
		if err != nil {
			return false, err
		}
		o.Progress.Read.Add(1)
		nar := int32(-1)
		drv := uint64(0)
		fresh = fresh || item.remembered == nil && item.read
		if item.gone {
			v.gone.add(int32(item.number))
		} else {
			for _, ref := range item.lead.refs {
				v.refs = append(v.refs, v.number(ref))
			}
			drv = item.lead.drv
			nar = v.lead(int32(item.number), item.lead.nars)
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

// belied returns a MemoryError unless the narinfo was replaced since it was listed.
func (v *view) belied(ctx context.Context, p pathEntry, memory string) error {
	key := p.id.NarInfoKey()
	info, there, err := layout.Lookup(ctx, v.tree, key)
	if err != nil || !there || tagOf(info.ETag) != p.tag {
		return err
	}
	return &MemoryError{key, memory}
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

// lead returns the first NAR of a path that is in the tree, and notes them all if
// there are others. A NAR that was not listed may have come since.
func (v *view) lead(i int32, nars []refgraph.NARID) int32 {
	first := int32(-1)
	for _, id := range nars {
		if first = v.findNAR(id); first >= 0 {
			break
		}
	}
	if len(nars) > 1 || first < 0 {
		if v.leads == nil {
			v.leads = map[int32][]refgraph.NARID{}
		}
		v.leads[i] = nars
	}
	return first
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

// nowhere is the lead of an object that makes no sense.
const nowhere = "-"

func leadOf(key layout.Key, text []byte) string {
	if key.Kind() == layout.KindDebugInfo {
		if _, nar, err := layout.ParseDebugLink(key, text); err == nil {
			id := narID(nar)
			return string(id[:])
		}
		return nowhere
	}
	if r, err := layout.ParseRealisation(key, text); err == nil {
		id := refgraph.PackPath(r.OutPath.Hash())
		return string(id[:])
	}
	return nowhere
}

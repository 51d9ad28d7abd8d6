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
func (v *view) read(ctx context.Context, m *memory, o Options) error {
	fresh, err := v.readPaths(ctx, m, o)
	if err != nil {
		return err
	}
	others, err := v.readOthers(ctx, m, o.jobs())
	if err != nil {
		return err
	}
	if err := v.lookAgain(ctx, o.jobs()); err != nil {
		return err
	}
	if fresh || others || m.paths != len(v.paths) {
		v.remember(o.Memory)
	}
	return nil
}

// lookAgain looks at the NARs that no path leads to and of which only the name was
// looked at: when they were put decides.
func (v *view) lookAgain(ctx context.Context, jobs int) error {
	led := make(set, (len(v.nars)+63)/64)
	for i := range int32(len(v.paths)) {
		for nar := range v.narsOf(i) {
			led.add(nar)
		}
	}
	loose := func(yield func(int32, error) bool) {
		for i := range int32(len(v.nars)) {
			if v.nars[i].named && !led.has(i) && !yield(i, nil) {
				return
			}
		}
	}
	return parallel.Each(ctx, jobs, loose, func(ctx context.Context, i int32) error {
		info, there, err := layout.Lookup(ctx, v.tree, v.narKey(i))
		if err != nil || !there { // removed a moment ago
			return err
		}
		s, err := v.sightingOf(info)
		n := &v.nars[i]
		n.born, n.tag, n.size, n.named = s.born, s.tag, s.size, false
		return err
	})
}

// oneIn is how many narinfos that are remembered come to one that is read again
// all the same: a tree that does not change the version of what changes is found out.
const oneIn = 100

// A reading is a narinfo that was read.
type reading struct {
	number int32
	lead   lead
	gone   bool // another program removed it, with all that needed it
}

func (v *view) readPaths(ctx context.Context, m *memory, o Options) (fresh bool, err error) {
	n := len(v.paths)
	v.gone = make(set, (n+63)/64)
	v.from, v.nar, v.drv = make([]uint32, n), make([]int32, n), make([]uint64, n)
	var room []int32
	v.refs.add(0)
	numbers := make([]int32, len(m.ids)) // of what is remembered: here, and one more
	var unread []int32
	sampled := map[int32]lead{} // that are read although they are remembered
	sample := rand.IntN(oneIn)
	for i, p := range v.paths {
		number := int32(i)
		switch known := m.path(p); {
		case !known:
			unread, fresh = append(unread, number), true
		case i%oneIn == sample && i < n/oneIn*oneIn:
			unread, sampled[number] = append(unread, number), m.known()
		default:
			v.from[i], room = v.refs.add(len(m.at))
			for n, at := range m.at {
				if numbers[at] == 0 {
					numbers[at] = v.number(m.ids[at]) + 1
				}
				room[n] = numbers[at] - 1
			}
			v.file(number, m.lead)
		}
	}
	o.Progress.Read.Add(int64(n - len(unread)))
	items := func(yield func(int32, error) bool) {
		for _, number := range unread {
			if !yield(number, nil) {
				return
			}
		}
	}
	for r, err := range parallel.InOrder(ctx, o.jobs(), items, nil, func(ctx context.Context, number int32) (r reading, err error) {
		path := v.paths[number]
		r.number = number
		r.lead, err = v.readNarInfo(ctx, path.id)
		if errors.Is(err, fs.ErrNotExist) {
			r.gone = true
			return r, nil
		}
		if remembered, is := sampled[number]; err == nil && is && !r.lead.equal(remembered) {
			err = v.belied(ctx, path, o.Memory)
		}
		return r, err
	}) {
		if err != nil {
			return false, err
		}
		o.Progress.Read.Add(1)
		if r.gone {
			v.gone.add(r.number)
		}
		v.from[r.number], room = v.refs.add(len(r.lead.refs))
		for n, ref := range r.lead.refs {
			room[n] = v.number(ref)
		}
		v.file(r.number, r.lead)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return fresh, nil
}

// file notes where a path leads, but for its references.
func (v *view) file(i int32, l lead) {
	v.drv[i] = l.drv
	v.nar[i] = v.lead(i, l.nars)
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
		v.leads[i] = slices.Clone(nars)
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

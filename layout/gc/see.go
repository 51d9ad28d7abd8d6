package gc

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A sighting is what a view keeps of what a listing says of an object.
type sighting struct {
	key  layout.Key
	born uint32
	tag  uint64
	size int64

	named   bool   // it was not looked at: an earlier run remembers this
	narinfo uint64 // then, of a listing: with which version of its narinfo
}

// sightingOf checks what a listing says.
func (v *view) sightingOf(info layout.Info) (sighting, error) {
	if info.ETag == "" {
		return sighting{}, fmt.Errorf("the cache does not tell one version of %s from another", info.Key)
	}
	return sighting{key: info.Key, born: uint32(max(0, info.ModTime.Unix())), tag: tagOf(info.ETag), size: info.Size}, nil
}

// see lists the tree. In a directory it costs most to look at each file. So it does not
// look at a NAR that an earlier run remembers, whose key says what it is, and which is
// looked at before anything is decided on its age. Nor at a listing that was young and
// still is, if its narinfo is the same: no path is younger than that makes it.
func see(ctx context.Context, t layout.Tree, storeDir string, m *memory, o Options) (*view, error) {
	v := &view{tree: t, storeDir: storeDir, now: o.now(), clock: o.now, ghost: map[refgraph.PathID]int32{}}
	v.paths, v.nars = make([]pathEntry, 0, m.paths+m.paths/64), make([]narEntry, 0, m.nars+m.nars/64)
	var nars, listings []sighting // that are named, and come next
	named := func(key layout.Key) bool {
		switch key.Kind() {
		case layout.KindNAR:
			if o.Undo <= 0 && !o.exact { // what goes now takes its NAR along, if that is old
				return false
			}
			s, ok := m.nar(key)
			if ok {
				nars = append(nars, s)
			}
			return ok
		case layout.KindListing:
			if o.exact || o.Policy != nil && o.Policy.MaxSize > 0 { // by age: to the second
				return false
			}
			s, ok := m.listing(key)
			if ok = ok && v.young(s.born, o.KeepYoung); ok {
				listings = append(listings, s)
			}
			return ok
		}
		return false
	}
	last := layout.Key("")
	for info, err := range layout.ListNames(ctx, t, "", named) {
		if err == nil && info.Key <= last {
			err = fmt.Errorf("%s comes after %s", info.Key, last)
		}
		if err == nil {
			last = info.Key
			switch {
			case len(nars) > 0 && nars[0].key == info.Key:
				v.add(nars[0])
				nars = nars[1:]
			case len(listings) > 0 && listings[0].key == info.Key:
				v.add(listings[0])
				listings = listings[1:]
			default:
				err = v.take(info)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("list the cache: %w", err)
		}
	}
	for info, err := range t.List(ctx, layout.ProvisionsPrefix) {
		if err == nil && info.Key.ProvisionHash() != "" {
			err = v.take(info)
		}
		if err != nil {
			return nil, fmt.Errorf("list the cache: %w", err)
		}
	}
	if err := v.lookAtListings(ctx); err != nil {
		return nil, err
	}
	v.tidy()
	return v, ctx.Err()
}

// take files what a listing says of one object.
func (v *view) take(info layout.Info) error {
	kind := info.Key.Kind()
	switch kind {
	case layout.KindPage, layout.KindPin, layout.KindCacheInfo, layout.KindForeign:
		v.kinds[kind].add(info.Size)
		return nil // no run removes them, however old they are
	}
	if by := info.ModTime.Sub(v.now); by > skew && info.ModTime.Sub(v.clock()) > skew {
		return &ClockError{info.Key, by}
	}
	s, err := v.sightingOf(info)
	if err == nil {
		v.add(s)
	}
	return err
}

// add files an object.
func (v *view) add(s sighting) {
	kind := s.key.Kind()
	v.kinds[kind].add(s.size)
	v.size += s.size
	switch kind {
	case layout.KindNarInfo, layout.KindListing:
		v.addPath(s, kind)
	case layout.KindNAR:
		id, ok := refgraph.PackNAR(s.key)
		if !ok {
			id = narID(s.key)
			if v.called == nil {
				v.called = map[refgraph.NARID]layout.Key{}
			}
			v.called[id] = s.key
		}
		v.nars = append(v.nars, narEntry{id, s.named, s.born, s.tag, s.size})
	case layout.KindLog, layout.KindDebugInfo, layout.KindRealisation, layout.KindPrivate:
		v.others = append(v.others, otherEntry{s.key, s.born, s.tag, s.size, ""})
	}
}

// A doubt is a listing that was not looked at, of a path whose narinfo is not known to
// be the one that it was remembered with.
type doubt struct {
	path    int
	narinfo uint64
}

func (v *view) addPath(s sighting, kind layout.Kind) {
	id := refgraph.PackPath(s.key.PathHash())
	n := len(v.paths)
	if n == 0 || v.paths[n-1].id != id {
		v.paths = append(v.paths, pathEntry{id: id})
		n++
	}
	p := &v.paths[n-1]
	if kind == layout.KindListing { // it comes first
		p.listing, p.born, p.listingSize = s.tag, s.born, uint32(s.size)
		if s.named {
			v.doubts = append(v.doubts, doubt{n - 1, s.narinfo})
		}
	} else {
		p.tag, p.narInfoSize = s.tag, uint32(s.size)
		if p.listing == 0 {
			p.born = s.born
		}
		if last := len(v.doubts) - 1; last >= 0 && v.doubts[last] == (doubt{n - 1, s.tag}) {
			v.doubts = v.doubts[:last]
		}
	}
}

// lookAtListings looks at those that are in doubt.
func (v *view) lookAtListings(ctx context.Context) error {
	for _, d := range v.doubts {
		p := &v.paths[d.path]
		info, there, err := layout.Lookup(ctx, v.tree, p.id.ListingKey())
		if err != nil {
			return err
		}
		if !there {
			continue // removed a moment ago
		}
		s, err := v.sightingOf(info)
		if err != nil {
			return err
		}
		more := s.size - int64(p.listingSize)
		v.size += more
		v.kinds[layout.KindListing].Bytes += more
		p.listing, p.born, p.listingSize = s.tag, s.born, uint32(s.size)
	}
	v.doubts = nil
	return nil
}

// tidy parts listings without a narinfo from the paths, and sorts the NARs.
func (v *view) tidy() {
	if len(v.called) > 0 {
		slices.SortFunc(v.nars, func(a, b narEntry) int { return bytes.Compare(a.id[:], b.id[:]) })
	}
	v.paths = slices.DeleteFunc(v.paths, func(p pathEntry) bool {
		if p.tag == 0 {
			v.stray = append(v.stray, strayEntry{p.id, p.born, p.listing, int64(p.listingSize)})
		}
		return p.tag == 0
	})
}

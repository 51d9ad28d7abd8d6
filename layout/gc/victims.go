package gc

import (
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A victim is an object that nothing leads to, other than a narinfo.
type victim struct {
	key  layout.Key
	tag  uint64
	size int64

	path refgraph.PathID // of a listing, or that a provision is for
	born uint32
	nar  int32  // of a NAR, or that a debug link leads to; else -1
	drv  uint64 // of a log
	// over: its time is over, whatever leads to it: a list of a run that no rule keeps,
	// a log or debug link whose life the policy ends.
	over bool
}

// isList reports whether it is a list of a run.
func (gone *victim) isList() bool { return gone.over && gone.key.Kind() == layout.KindPrivate }

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
	logs, debug := p.o.Policy.lives()
	var list []victim
	for _, o := range v.others {
		gone := victim{key: o.key, tag: o.tag, size: o.size, born: o.born, nar: -1}
		switch o.key.Kind() {
		case layout.KindLog:
			gone.drv = logTag(string(o.key)[len("log/"):])
			if logs != nil {
				if gone.over = logs.over(o.born, v.now); gone.over {
					list = append(list, gone)
				}
				continue
			}
			if drvs[gone.drv] || keep.drvs[gone.drv] {
				continue
			}
		case layout.KindDebugInfo:
			if len(o.lead) == len(refgraph.NARID{}) {
				gone.nar = v.findNAR(refgraph.NARID([]byte(o.lead)))
			}
			if gone.over = debug != nil && debug.over(o.born, v.now); gone.over {
				list = append(list, gone)
				continue
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
	for _, o := range v.overdue {
		list = append(list, victim{key: o.key, tag: o.tag, size: o.size, nar: -1})
	}
	for _, s := range v.stray {
		if !keep.ids[s.id] && old(s.born) {
			list = append(list, victim{key: s.id.ListingKey(), tag: s.tag, size: s.size, born: s.born, path: s.id, nar: -1})
		}
	}
	if !undo {
		for _, i := range p.withdraw {
			if path := v.paths[i]; path.listing != 0 {
				list = append(list, victim{key: path.id.ListingKey(), tag: path.listing, size: 0, born: path.born, path: path.id, nar: -1})
			}
		}
	}
	list = append(list, v.idle...)
	for i, n := range v.nars {
		if !led[i] && old(n.born) {
			list = append(list, victim{key: v.narKey(int32(i)), tag: n.tag, size: n.size, born: n.born, nar: int32(i)})
		}
	}
	return list
}

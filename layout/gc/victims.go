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
	v := p.v
	l := p.leads(goes, led)
	var list []victim
	for _, o := range v.others {
		if gone, dies := l.other(o); dies {
			list = append(list, gone)
		}
	}
	for _, o := range v.overdue {
		list = append(list, victim{key: o.key, tag: o.tag, size: o.size, nar: -1})
	}
	for _, s := range v.stray {
		if !p.keep.ids[s.id] && p.old(s.born) {
			list = append(list, victim{key: s.id.ListingKey(), tag: s.tag, size: s.size, born: s.born, path: s.id, nar: -1})
		}
	}
	if p.o.Undo == 0 {
		for _, i := range p.withdraw {
			if path := v.paths[i]; path.listing != 0 && goes.has(i) { // it may have stayed after all
				list = append(list, victim{key: path.id.ListingKey(), tag: path.listing, size: 0, born: path.born, path: path.id, nar: -1})
			}
		}
	}
	list = append(list, v.idle...)
	for i, n := range v.nars {
		if !l.nars[i] && p.old(n.born) {
			list = append(list, victim{key: v.narKey(int32(i)), tag: n.tag, size: n.size, born: n.born, nar: int32(i)})
		}
	}
	return list
}

func (p *Plan) old(born uint32) bool { return !p.v.young(born, p.o.KeepYoung) }

// leads are what the paths that stay lead to. With time for an undo, a path that goes
// now leaves a record that keeps the rest.
type leads struct {
	p           *Plan
	goes        set // nil with time for an undo
	nars        []bool
	drvs        map[uint64]bool
	provided    set // ghosts that are referred to
	logs, debug *Age
}

func (p *Plan) leads(goes set, led []bool) *leads {
	v := p.v
	l := &leads{p: p, goes: goes, nars: led, drvs: map[uint64]bool{}, provided: v.newSet()}
	l.logs, l.debug = p.o.Policy.lives()
	if p.o.Undo > 0 {
		l.goes, l.nars = nil, p.narsOf(func(int32) bool { return true })
	}
	for id := range p.keep.nars {
		if i := v.findNAR(id); i >= 0 {
			l.nars[i] = true
		}
	}
	for i := range int32(len(v.paths)) {
		if !l.stays(i) {
			continue
		}
		l.drvs[v.drv[i]] = true
		for _, ref := range v.references(i) {
			l.provided.add(ref)
		}
	}
	return l
}

// stays reports whether a path leads to what is its own.
func (l *leads) stays(i int32) bool { return l.goes == nil || !l.goes.has(i) }

// other tells of an object that is neither of a path's own nor a NAR whether it dies.
func (l *leads) other(o otherEntry) (gone victim, dies bool) {
	p, v := l.p, l.p.v
	gone = victim{key: o.key, tag: o.tag, size: o.size, born: o.born, nar: -1}
	switch o.key.Kind() {
	case layout.KindLog:
		gone.drv = logTag(string(o.key)[len(layout.LogFolder):])
		if l.logs != nil {
			gone.over = l.logs.over(o.born, v.now)
			return gone, gone.over
		}
		if l.drvs[gone.drv] || p.keep.drvs[gone.drv] {
			return gone, false
		}
	case layout.KindDebugInfo:
		if len(o.lead) == len(refgraph.NARID{}) {
			gone.nar = v.findNAR(refgraph.NARID([]byte(o.lead)))
		}
		if gone.over = l.debug != nil && l.debug.over(o.born, v.now); gone.over {
			return gone, true
		}
		if gone.nar >= 0 && (l.nars[gone.nar] || !p.old(v.nars[gone.nar].born)) {
			return gone, false
		}
	case layout.KindRealisation:
		if len(o.lead) == len(refgraph.PathID{}) {
			gone.path = refgraph.PathID([]byte(o.lead))
			if i := v.find(gone.path); i >= 0 && l.stays(i) {
				return gone, false // it goes with its path
			}
		}
	case layout.KindPrivate:
		gone.path = refgraph.PackPath(o.key.ProvisionHash())
		if i := v.known(gone.path); i >= 0 && l.provided.has(i) || p.keep.refs[gone.path] {
			return gone, false
		}
	}
	return gone, p.old(o.born)
}

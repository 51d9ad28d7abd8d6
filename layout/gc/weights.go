package gc

import (
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// weights are what the files take that belong to paths and NARs, so that each file counts
// once: paths may share a NAR, and the outputs of one derivation a log.
type weights struct {
	v    *view
	path map[int32]int64  // realisations
	nars map[int32]int64  // debug links
	log  map[uint64]int64 // by derivation
}

// weights returns what the files of a view take.
func (v *view) weights() *weights {
	w := &weights{v, map[int32]int64{}, map[int32]int64{}, map[uint64]int64{}}
	for _, o := range v.others {
		switch o.key.Kind() {
		case layout.KindLog:
			w.log[logTag(string(o.key)[len(layout.LogFolder):])] += o.size
		case layout.KindDebugInfo:
			if len(o.lead) == len(refgraph.NARID{}) {
				if i := v.findNAR(refgraph.NARID([]byte(o.lead))); i >= 0 {
					w.nars[i] += o.size
				}
			}
		case layout.KindRealisation:
			if len(o.lead) == len(refgraph.PathID{}) {
				if i := v.find(refgraph.PathID([]byte(o.lead))); i >= 0 {
					w.path[i] += o.size
				}
			}
		}
	}
	return w
}

// of returns what the narinfo, listing and realisations of a path take.
func (w *weights) of(i int32) int64 { return w.v.paths[i].size() + w.path[i] }

// nar returns what a NAR takes, with the debug links to it.
func (w *weights) nar(i int32) int64 { return w.v.nars[i].size + w.nars[i] }

// A tally adds up the files of sets of paths, some of which may be in several sets.
type tally struct {
	v     *view
	w     *weights
	paths []int32 // how many of the sets have a path
	nars  []int32
	logs  map[uint64]int32
	Size
}

func (v *view) newTally(w *weights) *tally {
	return &tally{v: v, w: w, paths: make([]int32, len(v.paths)), nars: make([]int32, len(v.nars)), logs: map[uint64]int32{}}
}

// add counts a path of one set more.
func (t *tally) add(i int32) {
	if t.v.isGhost(i) {
		return
	}
	if t.paths[i]++; t.paths[i] > 1 {
		return
	}
	t.Count++
	t.Bytes += t.w.of(i)
	if nar := t.v.nar[i]; nar >= 0 {
		if t.nars[nar]++; t.nars[nar] == 1 {
			t.Bytes += t.w.nar(nar)
		}
	}
	if drv := t.v.drv[i]; t.w.log[drv] > 0 {
		if t.logs[drv]++; t.logs[drv] == 1 {
			t.Bytes += t.w.log[drv]
		}
	}
}

// drop takes a path of one set away again.
func (t *tally) drop(i int32) {
	if t.v.isGhost(i) {
		return
	}
	if t.paths[i]--; t.paths[i] > 0 {
		return
	}
	t.Count--
	t.Bytes -= t.w.of(i)
	if nar := t.v.nar[i]; nar >= 0 {
		if t.nars[nar]--; t.nars[nar] == 0 {
			t.Bytes -= t.w.nar(nar)
		}
	}
	if drv := t.v.drv[i]; t.w.log[drv] > 0 {
		if t.logs[drv]--; t.logs[drv] == 0 {
			t.Bytes -= t.w.log[drv]
		}
	}
}

// A walker goes through closures, one after the other, without a set for each.
type walker struct {
	v     *view
	seen  []int32 // of each path: the number of the last closure that had it
	turn  int32
	stack []int32
}

func (v *view) newWalker() *walker {
	return &walker{v: v, seen: make([]int32, len(v.paths)+len(v.ghosts))}
}

// walk tells each path of the closure of some paths once.
func (w *walker) walk(from []int32, told func(i int32)) {
	w.turn++
	push := func(i int32) {
		if w.seen[i] != w.turn {
			w.seen[i] = w.turn
			w.stack = append(w.stack, i)
			told(i)
		}
	}
	for _, i := range from {
		push(i)
	}
	for len(w.stack) > 0 {
		i := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		for _, ref := range w.v.references(i) {
			push(ref)
		}
	}
}

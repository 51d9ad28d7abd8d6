package gc

import "math/bits"

// holdings tell of each path, NAR and log which root holds it, where that is one alone.
type holdings struct {
	v     *view
	w     *weights
	paths []holder
	nars  []holder
	logs  map[uint64]holder

	byNAR []uint64 // the roots that lead to it, while some are added
	byLog map[uint64]uint64
}

// A holder is the number of a root, from 1.
type holder int32

const (
	nobody  holder = 0
	several holder = -1
)

// with returns who holds an object when some roots more lead to it.
func (h holder) with(part []int, by uint64) holder {
	switch {
	case by == 0:
		return h
	case h == nobody && by&(by-1) == 0:
		return holder(part[bits.TrailingZeros64(by)] + 1)
	}
	return several
}

func (v *view) newHoldings(w *weights) *holdings {
	return &holdings{v: v, w: w, paths: make([]holder, len(v.paths)), nars: make([]holder, len(v.nars)), logs: map[uint64]holder{},
		byNAR: make([]uint64, len(v.nars))}
}

// add adds what some roots lead to, and tells by which of them NARs and logs are held.
// A NAR of several paths, or the log of several outputs, is told once.
func (h *holdings) add(part []int, by []uint64, told func(by uint64, bytes int64)) {
	clear(h.byNAR)
	h.byLog = map[uint64]uint64{}
	for i := range h.paths {
		if by[i] == 0 {
			continue
		}
		h.paths[i] = h.paths[i].with(part, by[i])
		if nar := h.v.nar[i]; nar >= 0 {
			h.byNAR[nar] |= by[i]
		}
		if drv := h.v.drv[i]; h.w.log[drv] > 0 {
			h.byLog[drv] |= by[i]
		}
	}
	for i, by := range h.byNAR {
		if by != 0 {
			h.nars[i] = h.nars[i].with(part, by)
			told(by, h.w.nar(int32(i)))
		}
	}
	for drv, by := range h.byLog {
		h.logs[drv] = h.logs[drv].with(part, by)
		told(by, h.w.log[drv])
	}
}

// only adds up what each root holds alone, and returns what all of them hold.
func (h *holdings) only(of []Size) (all Size) {
	count := func(by holder, size Size) {
		if by == nobody {
			return
		}
		all = Size{all.Count + size.Count, all.Bytes + size.Bytes}
		if by != several {
			own := &of[by-1]
			*own = Size{own.Count + size.Count, own.Bytes + size.Bytes}
		}
	}
	for i, by := range h.paths {
		count(by, Size{1, h.w.of(int32(i))})
	}
	for i, by := range h.nars {
		count(by, Size{0, h.w.nar(int32(i))})
	}
	for drv, by := range h.logs {
		count(by, Size{0, h.w.log[drv]})
	}
	return all
}

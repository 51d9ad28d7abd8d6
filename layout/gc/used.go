package gc

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout/uses"
)

// readUses finds out when the paths of a view were read last. A NAR counts for each
// path that has it.
func (v *view) readUses(ctx context.Context) error {
	v.reads = nil
	var nars []uint32
	now := uint32(max(0, v.now.Unix()))
	for day, err := range uses.Read(ctx, v.tree, v.now.AddDate(0, 0, -uses.Remembered)) {
		if err != nil {
			return err
		}
		if v.reads == nil {
			v.reads, nars = make([]uint32, len(v.paths)), make([]uint32, len(v.nars))
		}
		// It was read by the end of that day.
		at := min(now, uint32(max(0, day.Day.Add(24*time.Hour-time.Second).Unix())))
		for _, id := range day.Paths {
			if i := v.find(id); i >= 0 {
				v.reads[i] = max(v.reads[i], at)
			}
		}
		for _, id := range day.NARs {
			if i := v.findNAR(id); i >= 0 {
				nars[i] = max(nars[i], at)
			}
		}
	}
	for i := range v.reads {
		if nar := v.nar[i]; nar >= 0 {
			v.reads[i] = max(v.reads[i], nars[nar])
		}
	}
	return nil
}

// usedLately returns the root of what was read since a moment.
func (v *view) usedLately(since time.Time) root {
	r := root{name: "used", kind: rootUsed}
	for i, at := range v.reads {
		if at > 0 && time.Unix(int64(at), 0).After(since) {
			r.paths = append(r.paths, int32(i))
		}
	}
	return r
}

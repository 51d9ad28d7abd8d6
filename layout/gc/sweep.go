package gc

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	// turn is how many objects go while writers are kept out.
	turn = 5000
	// between is how long writers have between two turns: more than they wait
	// before they ask again.
	between = 50 * time.Millisecond
)

// A sweep carries out a plan.
type sweep struct {
	*Plan
	state layout.SweepPlan
	begun time.Time
	part  int // of the record
	// unrecorded: what goes can never come back.
	unrecorded bool
	// full: the disk has no room. touched: so the plan has another version, and not yet
	// another text.
	full, touched bool

	went       map[int32]bool // paths that were withdrawn
	withdrew   Size
	reclaimed  Size
	unfinished int // uploads
	kept       int64

	// In a bucket:
	version   string    // of the plan
	changed   time.Time // when it was changed last, by our clock
	slice     int       // that is being swept
	noted     *changes  // what writers rely on
	notesRead map[layout.Key]bool
	condemned int64     // objects, for the next round
	ripe      time.Time // from when on they may go
}

// Switches that only tests set: each takes one step out of the protocol, and a
// search over the orders of operations has to find what breaks.
var without struct {
	Exclude, Announce, Recheck, Closure, Renewed, Order, Records, Versions bool
	// In a bucket:
	Wait, NotesEarly, Lease, Unanswered, CAS, Scan, Lock bool
}

// alone does work while no writer is publishing, after it has looked at what
// they have published since the plan was made. It announces the work
// first, so that writers look again at what they saw.
func (s *sweep) alone(ctx context.Context, work func(context.Context, *changes) error) error {
	if s.o.round != nil {
		return s.inSlice(ctx, work)
	}
	if !without.Exclude {
		leave, err := layout.Exclude(ctx, s.v.tree)
		if err != nil {
			return err
		}
		defer leave()
	}
	// Dying after this leaves writers that look once more, for nothing.
	if !without.Announce {
		if err := s.announce(ctx); err != nil {
			return err
		}
		// A docket that did not change was not put, and compared no clocks.
		if err := checkClock(ctx, s.v.tree, layout.PlanKey); err != nil {
			return err
		}
	}
	c, err := s.recheck(ctx)
	if err != nil {
		return err
	}
	return work(ctx, c)
}

// unchanged reports whether an object has the version that the plan knows.
func (s *sweep) unchanged(ctx context.Context, key layout.Key, tag uint64) (bool, error) {
	if without.Versions || s.o.round != nil { // what has changed in a bucket is in a note
		return true, nil
	}
	info, there, err := layout.Lookup(ctx, s.v.tree, key)
	return there && tagOf(info.ETag) == tag, err
}

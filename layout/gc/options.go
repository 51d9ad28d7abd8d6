package gc

import (
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// Options say what a run keeps. The zero value keeps nothing that is not pinned,
// and waits for nothing: callers set the times.
type Options struct {
	// Policy says what else stays; nil: pins and all runs. Its times are those below.
	Policy    *Policy
	KeepYoung time.Duration // what was put within this time stays
	Undo      time.Duration // for how long what is withdrawn can be brought back
	Grace     time.Duration // for how long an object has to be dead before it goes
	// MaxRemoval is the share of all bytes that may go in one run; 0 for half.
	MaxRemoval float64
	NoPins     bool // the tree is meant to have none

	// Alone says that no other process writes to the tree, so that its store need not
	// keep to conditions.
	Alone bool

	NoReclaim   bool // withdraw alone
	ReclaimOnly bool // and nothing else

	// Memory is a file on this machine that remembers what narinfos lead to, for the
	// next run on the same tree; "" for none.
	Memory string

	// Gone is told of the keys that were deleted, while writers wait: it must be quick.
	// It may be nil.
	Gone func(keys []layout.Key)

	NameAll  bool // the plan names all paths that go
	Jobs     int  // requests at once; 0 for 16
	Progress *Progress

	Now func() time.Time // nil for the clock; for tests

	round *round // of a bucket: what may go now
	exact bool   // ages are wanted as they are, also where that decides nothing
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return 16
}

// Progress counts while a run is at work. Another goroutine may read it.
type Progress struct {
	Listed, Read         atomic.Int64 // paths
	Withdrawn, Reclaimed atomic.Int64 // paths; objects
}

// gone tells what was deleted.
func (o Options) gone(groups ...[]layout.Key) {
	if o.Gone == nil {
		return
	}
	for _, keys := range groups {
		if len(keys) > 0 {
			o.Gone(keys)
		}
	}
}

func orNew(p *Progress) *Progress {
	if p == nil {
		return &Progress{}
	}
	return p
}

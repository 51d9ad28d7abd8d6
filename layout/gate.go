package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// A writer sees that something is there and publishes a narinfo that needs it. A
// sweeper sees that nothing needs it and removes it. Both are right, and the tree
// is broken. The gate keeps the two apart:
//
//   - A writer calls Look before it looks at a tree, and Rely before it publishes
//     what rests on what it saw. Until it calls Release, no sweeper removes
//     anything. If anything was removed between Look and Rely, the Reliance is
//     stale, and the writer looks again before it publishes.
//   - A sweeper calls Exclude, changes the plan (see SweepPlan), looks at what
//     was published since it decided what to remove, and removes the rest.
//
// A tree that nothing is ever removed from has no plan, and a writer pays a few
// system calls for that knowledge. In a bucket no lock holds back a request that is
// late, so that time takes the place of the lock, see Fence. A tree that has
// neither is not swept at all.

// A Gater is a tree whose writers and sweepers can exclude each other, across
// processes.
type Gater interface {
	// Gate waits until no sweeper is at work, and with sweep until no writer is
	// either. A sweeper that waits lets no more writers in. A gate that was taken
	// ends with the process. Its holder must not ask for it again.
	Gate(ctx context.Context, sweep bool) (leave func(), err error)
}

// ErrNoGate says that nothing can be removed safely from a tree while others
// write to it.
var ErrNoGate = fmt.Errorf("writers and removals cannot be kept apart in this kind of cache: %w", errors.ErrUnsupported)

// ErrRemoved says that something which a writer relied upon was removed before
// the writer published. The writer looks again, and puts what is missing.
var ErrRemoved = errors.New("removed from the cache meanwhile")

// ErrClosed says that a mirror owns a tree: what anybody else writes to it, the next
// run of the mirror removes, with no regard for what rests on it.
var ErrClosed = errors.New("the cache is a mirror that is kept equal to another cache")

// A SweepPlan is changed by a sweeper before it removes anything: no two versions
// are equal, and it is never deleted. So a writer knows by its version alone
// whether anything was removed.
type SweepPlan struct {
	Epoch int64  `json:"epoch"` // of the last run that removed something
	Nonce string `json:"nonce"`
	By    string `json:"by"`
	// KeepYoung is how long a path stays that was pushed and that nothing else
	// keeps, in seconds.
	KeepYoung int64 `json:"keepYoung"`
	// Closed says that the tree is kept equal to another one, by a mirror that
	// removes what that one does not have: two owners would undo each other's work.
	Closed bool `json:"closed,omitempty"`

	// The rest is for buckets, see Fence.
	State SweepState `json:"state,omitempty"`
	// Round names the lists of what is condemned, and the notes about them.
	Round   string    `json:"round,omitempty"`
	Slices  int       `json:"slices,omitempty"` // how many lists there are
	Slice   int       `json:"slice,omitempty"`  // that is being swept, from 1: those before it are done
	Renewed int64     `json:"renewed,omitempty"`
	At      time.Time `json:"at,omitzero"`    // by the clock of the sweeper
	Late    int64     `json:"late,omitempty"` // how long after it was signed a request may take effect, in seconds
	// Known is for how many seconds after a plan was read a publication may be signed,
	// and Lease for how many after it was changed a removal may; 0 for 120 and 300.
	Known int64 `json:"known,omitempty"`
	Lease int64 `json:"lease,omitempty"`
}

// A SweepState is how far a sweep of a bucket is.
type SweepState string

// The states. Condemned objects go if nothing is found to need them when the fence has
// passed; then one slice after the other is swept.
const (
	SweepIdle      SweepState = ""
	SweepCondemned SweepState = "condemned"
	SweepSweeping  SweepState = "sweeping"
)

// ReadSweepPlan returns the plan of a tree. The error is fs.ErrNotExist if
// nothing was ever removed.
func ReadSweepPlan(ctx context.Context, r Reader) (SweepPlan, error) {
	text, err := ReadAll(ctx, r, PlanKey)
	if err != nil {
		return SweepPlan{}, err
	}
	return ParseSweepPlan(text)
}

// A Sight is the moment from which a writer looks at a tree. The zero Sight is
// before all removals.
type Sight struct{ plan string }

// Look begins a look at the tree: what is seen afterwards holds for Rely, unless
// that says otherwise.
func Look(ctx context.Context, t Tree) (Sight, error) {
	if f, ok := Ability[Fenced](t); ok {
		now, err := f.Fence().look(ctx, t, false)
		if err == nil && now.plan.Closed {
			err = ErrClosed
		}
		return Sight{now.version}, err
	}
	if _, ok := Ability[Gater](t); !ok {
		return Sight{}, nil
	}
	if _, there, err := Lookup(ctx, t, PlanKey); err != nil || !there {
		return Sight{}, err // what is removed later is removed under a plan
	}
	// Not during a sweep: it has changed the plan already, and still removes.
	r, err := Rely(ctx, t, Sight{})
	if err != nil {
		return Sight{}, err
	}
	defer r.Release()
	return r.now, nil
}

// A Reliance keeps everything in a tree from being removed until it is released.
type Reliance struct {
	// Stale says that something was removed since the Sight: what was seen has
	// to be looked at again before anything is published that needs it.
	Stale bool

	now   Sight
	leave func()
	until time.Time
}

// Context returns the context of what is published: its requests are ErrLate once
// the Reliance is too old for them.
func (r *Reliance) Context(ctx context.Context) context.Context {
	if r.until.IsZero() {
		return ctx
	}
	return SignBy(ctx, r.until)
}

// Sight returns the moment from which the tree has not changed by a removal.
func (r *Reliance) Sight() Sight { return r.now }

// Release lets sweepers in again. A nil Reliance is fine to release.
func (r *Reliance) Release() {
	if r != nil && r.leave != nil {
		r.leave()
		r.leave = nil
	}
}

// Rely begins a publication that rests on what was seen in the tree: on keys, where
// the gate tells one from another. The keys of what is published are among them. The
// publication uses the Context of the Reliance, and begins anew if the error is
// ErrLate. The error of Rely is ErrClosed if a mirror owns the tree.
func Rely(ctx context.Context, t Tree, since Sight, keys ...Key) (*Reliance, error) {
	if f, ok := Ability[Fenced](t); ok {
		return f.Fence().rely(ctx, t, since, keys)
	}
	g, ok := Ability[Gater](t)
	if !ok {
		return &Reliance{}, nil
	}
	leave, err := g.Gate(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("wait for a removal to end: %w", err)
	}
	now, err := sight(ctx, t, since)
	if err != nil {
		leave()
		return nil, err
	}
	return &Reliance{Stale: now != since, now: now, leave: leave}, nil
}

// sight returns the version of the plan. The plan is read if it has another one than
// before: the error is ErrClosed if writers are to stay out.
func sight(ctx context.Context, t Tree, before Sight) (Sight, error) {
	info, there, err := Lookup(ctx, t, PlanKey)
	if now := (Sight{info.ETag}); err != nil || !there || now == before {
		return now, err
	}
	plan, err := ReadSweepPlan(ctx, t)
	if err == nil && plan.Closed {
		err = ErrClosed
	}
	return Sight{info.ETag}, err
}

// Exclude waits until no writer is publishing, and keeps all of them out until it
// is released.
func Exclude(ctx context.Context, t Tree) (leave func(), err error) {
	g, ok := Ability[Gater](t)
	if !ok {
		return nil, ErrNoGate
	}
	return g.Gate(ctx, true)
}

// IsFenced reports whether nothing keeps late requests out of a tree, see Fenced.
func IsFenced(t Tree) bool {
	_, ok := Ability[Fenced](t)
	return ok
}

// ProveFence asks the store of a fenced tree what a sweep rests on.
func ProveFence(ctx context.Context, t Tree) (FenceProof, error) {
	if f, ok := Ability[Fenced](t); ok {
		return f.ProveFence(ctx)
	}
	return FenceProof{}, errors.ErrUnsupported
}

// CanSweep reports whether objects can be removed from a tree while others write to
// it.
func CanSweep(t Tree) bool {
	_, gate := Ability[Gater](t)
	_, fence := Ability[Fenced](t)
	return gate || fence
}

// knownPlan returns the plan of a tree as a writer knows it. The error is
// fs.ErrNotExist if nothing was ever removed, or can be.
func knownPlan(ctx context.Context, t Tree) (SweepPlan, error) {
	if f, ok := Ability[Fenced](t); ok {
		now, err := f.Fence().look(ctx, t, false)
		if err == nil && now.version == "" {
			err = fs.ErrNotExist
		}
		return now.plan, err
	}
	if !CanSweep(t) {
		return SweepPlan{}, fs.ErrNotExist
	}
	return ReadSweepPlan(ctx, t)
}

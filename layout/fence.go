package layout

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// In a bucket a request may arrive long after it was sent. So a sweeper announces
// in the plan what it is about to remove, waits until all requests have arrived
// whose senders did not know, and looks at the tree again:
//
//	idle → condemned → sweeping slice 1 → … → sweeping slice n → idle
//
// The plan names lists of what is condemned. A writer reads the plan once a
// minute, and before it publishes something that rests on a condemned key:
//
//   - If the slice of the key is still to come, it leaves a note that names the key,
//     and reads the plan again: the sweeper reads the notes once it has announced
//     the slice, and keeps what they name, and all that this leads to.
//   - If the slice is being swept, the key counts as absent and is not written. The
//     writer waits, for seconds, and looks again.
//   - If the slice is done, the key is like any other.
//
// A request that publishes is signed within knownFor after the plan was read. So
// whatever rests on a reading of before the announcement has arrived when the fence
// has passed, and the sweeper sees it.

// A Fenced is a tree in which nothing keeps late requests out.
type Fenced interface {
	// Fence returns what this process knows of removals from the tree.
	Fence() *Fence
	// ProveFence asks the store what a sweep rests on.
	ProveFence(ctx context.Context) (FenceProof, error)
}

// A FenceProof is what a store was seen to do.
type FenceProof struct {
	Conditions bool          // it keeps to IfAbsent and IfMatch, so that several processes may write
	Late       time.Duration // how long after it was signed a request may take effect
}

const (
	// planAge is how long a writer goes without reading the plan.
	planAge = time.Minute
	// knownFor is how long after its plan was read a publication may be signed.
	knownFor = 2 * time.Minute
	// sweepLease is how long after its last change of the plan a sweeper may sign
	// removals.
	sweepLease = 5 * time.Minute

	pollFirst, pollLast = 500 * time.Millisecond, 5 * time.Second
)

// Fence is how long after a change of the plan everything has arrived that was
// sent without knowing of it.
func (p SweepPlan) Fence() time.Duration { return time.Duration(p.Late)*time.Second + p.knownFor() }

func (p SweepPlan) knownFor() time.Duration {
	return cmp.Or(time.Duration(p.Known)*time.Second, knownFor)
}

// SweepLease is how long after its last change of the plan a sweeper may sign
// removals.
func (p SweepPlan) SweepLease() time.Duration {
	return cmp.Or(time.Duration(p.Lease)*time.Second, sweepLease)
}

// Abandoned is how long after the last change of a plan its sweeper counts as dead,
// with all its requests arrived.
func (p SweepPlan) Abandoned() time.Duration {
	return p.SweepLease() + time.Duration(p.Late)*time.Second
}

// A Fence is what a process knows of removals from a tree. The zero value knows
// nothing.
type Fence struct {
	mu    sync.Mutex // also held while the plan or a list is read
	known bool
	now   planSeen
	since time.Time // when this version of the plan was seen first
	round string    // the round that list and noted are about
	list  []SweepList
	noted map[Key]bool

	// Without takes steps out of the protocol, for tests: a search over the orders of
	// operations has to find what breaks.
	Without struct {
		Note, Reread, Block, Stale bool
		Keys                       func(Key) bool // that are not relied upon
	}
}

// A planSeen is a plan as it was read.
type planSeen struct {
	plan    SweepPlan
	version string // "" if there is none
	read    time.Time
}

// look returns the plan, which is a minute old at most.
func (f *Fence) look(ctx context.Context, t Tree, fresh bool) (planSeen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	begun := time.Now()
	most := min(planAge, f.now.plan.knownFor()/2)
	if age := begun.Round(0).Sub(f.now.read.Round(0)); f.known && !fresh && begun.Sub(f.now.read) < most && age >= 0 && age < most {
		return f.now, nil
	}
	info, there, err := Lookup(ctx, t, PlanKey)
	if err != nil {
		return planSeen{}, err
	}
	next := planSeen{plan: f.now.plan, version: f.now.version, read: begun}
	switch {
	case !there:
		next = planSeen{read: begun}
	case !f.known || info.ETag != f.now.version:
		text, info, err := ReadVersion(ctx, t, PlanKey)
		if err != nil {
			return planSeen{}, err
		}
		if next.plan, err = ParseSweepPlan(text); err != nil {
			return planSeen{}, err
		}
		next.version = info.ETag
	}
	if !f.known || next.version != f.now.version {
		f.since = time.Now() // the answer may have taken long
	}
	f.known, f.now = true, next
	return next, nil
}

// rely is Rely.
func (f *Fence) rely(ctx context.Context, t Tree, since Sight, keys []Key) (*Reliance, error) {
	if f.Without.Keys != nil {
		var some []Key
		for _, key := range keys {
			if !f.Without.Keys(key) {
				some = append(some, key)
			}
		}
		keys = some
	}
	fresh := false
	for wait := pollFirst; ; {
		now, err := f.look(ctx, t, fresh)
		if err != nil {
			return nil, err
		}
		if now.plan.Closed {
			return nil, ErrClosed
		}
		pending, swept, err := f.fate(ctx, t, now, keys)
		switch {
		case err != nil:
			return nil, err
		case swept && !f.Without.Block:
			if err := f.release(ctx, t, now); err != nil {
				return nil, err
			}
			if err := Sleep(ctx, wait); err != nil {
				return nil, err
			}
			wait, fresh = min(2*wait, pollLast), true
			continue
		case len(pending) > 0 && !f.Without.Note:
			if err := f.note(ctx, t, now.plan.Round, pending); err != nil {
				return nil, err
			}
			// A note that is put after the sweeper read the notes is worth nothing.
			fresh = true
			if !f.Without.Reread {
				continue
			}
		}
		at := Sight{now.version}
		return &Reliance{Stale: at != since && !f.Without.Stale, now: at, until: now.read.Add(now.plan.knownFor())}, nil
	}
}

// fate returns which of the keys are condemned and need a note, and whether one of
// them is being swept.
func (f *Fence) fate(ctx context.Context, t Tree, now planSeen, keys []Key) (pending []Key, swept bool, err error) {
	plan := now.plan
	if plan.State == SweepIdle || len(keys) == 0 {
		return nil, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.round != plan.Round {
		lists := make([]SweepList, plan.Slices)
		for i := range lists {
			if lists[i], err = ReadSweepList(ctx, t, plan.Round, i+1); err != nil {
				return nil, false, err
			}
		}
		f.round, f.list, f.noted = plan.Round, lists, map[Key]bool{}
	}
	for _, key := range keys {
		for i, list := range f.list {
			slice := i + 1
			if slice < plan.Slice || !list.Names(key) {
				continue
			}
			if slice == plan.Slice {
				return nil, true, nil
			}
			if !f.noted[key] {
				pending = append(pending, key)
			}
			break
		}
	}
	return pending, false, nil
}

// note tells the sweeper of a round that keys are relied upon.
func (f *Fence) note(ctx context.Context, t Tree, round string, keys []Key) error {
	var text strings.Builder
	for _, key := range keys {
		text.WriteString(string(key) + "\n")
	}
	if err := t.Put(ctx, Key(NotesPrefix+round+"/"+rand.Text()), Bytes([]byte(text.String())), PutOptions{IfAbsent: true}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.round == round {
		for _, key := range keys {
			f.noted[key] = true
		}
	}
	return nil
}

// release ends the sweep of a process that died in it, so that writers need no
// operator: it has changed nothing for so long that its last removal has arrived,
// by the watch of this process.
func (f *Fence) release(ctx context.Context, t Tree, now planSeen) error {
	f.mu.Lock()
	since, version := f.since, f.now.version
	f.mu.Unlock()
	if version != now.version || time.Since(since) < now.plan.Abandoned() {
		return nil
	}
	next := now.plan
	next.Nonce, next.State, next.Slice = rand.Text(), SweepIdle, 0
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	err = t.Put(ctx, PlanKey, Bytes(text), PutOptions{IfMatch: now.version})
	if errors.Is(err, ErrChanged) {
		return nil // by another process
	}
	return err
}

// ParseSweepPlan reads a plan. The error of a plan that this version does not
// understand is to stop its reader, to whom it may announce something.
func ParseSweepPlan(text []byte) (plan SweepPlan, err error) {
	if err := json.Unmarshal(text, &plan); err != nil {
		return plan, fmt.Errorf("read %s: %w", PlanKey, err)
	}
	switch {
	case plan.State != SweepIdle && plan.State != SweepCondemned && plan.State != SweepSweeping:
		err = fmt.Errorf("read %s: %.40q is a state of another version of this program", PlanKey, plan.State)
	case plan.Slices < 0 || plan.Slices > maxSlices || plan.Slice < 0 || plan.Slice > plan.Slices || plan.Late < 0 || plan.Known < 0 || plan.Lease < 0,
		plan.State != SweepIdle && (!isName(plan.Round, "") || strings.Contains(plan.Round, "..")), (plan.State == SweepSweeping) != (plan.Slice > 0):
		err = fmt.Errorf("read %s: it makes no sense", PlanKey)
	}
	return plan, err
}

// maxSlices bounds what a writer reads: 100 million keys.
const maxSlices = 10_000

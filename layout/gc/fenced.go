package gc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// In a bucket a run does the second half of one round and the first half of the
// next, over one look at the tree: it sweeps what an earlier run condemned and is
// dead still, and condemns what is dead besides. See layout.Fence for why.

// An UnsettledError says that a run broke off while it removed objects, and that
// the last of its requests may still arrive.
type UnsettledError struct{ Until time.Time }

func (e *UnsettledError) Error() string {
	return fmt.Sprintf("a run broke off while it removed objects: its last requests may arrive until %s", e.Until.Format(time.RFC3339))
}

// ErrNoConditions says that a store keeps to no conditions, so that two processes
// cannot agree about what is removed.
var ErrNoConditions = errors.New("the store does not support conditional writes (If-None-Match, If-Match): other processes cannot be told what is about to be removed")

// ErrOvertaken says that another process has changed the plan meanwhile.
var ErrOvertaken = errors.New("another run has changed the plan of this cache meanwhile")

// sliceLevels bounds how many requests a slice needs that wait for each other.
const sliceLevels = 500

// A round is what was condemned together.
type round struct {
	plan    layout.SweepPlan
	version string    // of the plan; "" if there is none
	changed time.Time // when the plan was changed last, by the store's clock
	ripeAt  time.Time // from when on it may be swept
	ripe    bool
	objects []condemnedObject // in the order of their versions
}

type condemnedObject struct {
	version uint64 // see sentenced
	slice   int
}

// slice returns in which slice a version of an object is condemned, 0 for none.
func (r *round) slice(object uint64) int {
	i, found := slices.BinarySearchFunc(r.objects, object, func(c condemnedObject, object uint64) int { return cmp.Compare(c.version, object) })
	if !found {
		return 0
	}
	return r.objects[i].slice
}

// readRound reads the plan of a tree. With write, clocks are compared where age
// decides, and the sweep of a process that died is ended.
func readRound(ctx context.Context, t layout.Tree, write bool) (*round, error) {
	r := &round{}
	text, info, err := layout.ReadVersion(ctx, t, layout.PlanKey)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if r.plan, err = layout.ParseSweepPlan(text); err != nil {
		return nil, err
	}
	r.version, r.changed = info.ETag, info.ModTime
	if r.plan.State == layout.SweepIdle {
		return r, nil
	}
	age, err := r.age(ctx, t, write)
	if err != nil {
		return nil, err
	}
	if r.plan.State == layout.SweepSweeping {
		wait := r.plan.Abandoned() - age
		if without.Lease {
			wait = 0
		}
		if wait > 0 {
			return nil, &UnsettledError{time.Now().Add(wait)}
		}
		if !write {
			r.plan.State = layout.SweepIdle
			return r, nil
		}
		s := &sweep{Plan: &Plan{v: &view{tree: t}}, state: r.plan, version: r.version}
		s.o.KeepYoung = time.Duration(r.plan.KeepYoung) * time.Second
		if err := s.rest(ctx); err != nil {
			return nil, err
		}
		r.plan, r.version = s.state, s.version
		return r, nil
	}
	wait := r.plan.Fence() - age
	r.ripe, r.ripeAt = wait <= 0 || without.Wait || without.Scan, time.Now().Add(wait)
	for n := range r.plan.Slices {
		list, err := layout.ReadSweepList(ctx, t, r.plan.Round, n+1)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			r.objects = append(r.objects, condemnedObject{c.Version, n + 1})
		}
	}
	slices.SortFunc(r.objects, func(a, b condemnedObject) int { return cmp.Compare(a.version, b.version) })
	return r, nil
}

// age returns for how long the plan has not changed: by the clock of the store, and
// by that of this machine too, since too short a wait is a danger.
func (r *round) age(ctx context.Context, t layout.Tree, write bool) (time.Duration, error) {
	ours := time.Now()
	age := min(ours.Sub(r.changed), ours.Sub(r.plan.At))
	if !write {
		return age, nil
	}
	if err := t.Put(ctx, layout.ClockKey, layout.Bytes([]byte(ours.UTC().Format(time.RFC3339Nano)+"\n")), layout.PutOptions{}); err != nil {
		return 0, err
	}
	info, err := t.Stat(ctx, layout.ClockKey)
	if err != nil {
		return 0, err
	}
	if by := time.Until(info.ModTime); by.Abs() > skew {
		return 0, &ClockError{layout.ClockKey, by}
	}
	return min(age, info.ModTime.Sub(r.changed)), nil
}

// collectFenced is Collect in a bucket.
func collectFenced(ctx context.Context, t layout.Tree, o Options, confirm func(*Plan) error) (done Run, err error) {
	if o.round, err = readRound(ctx, t, true); err != nil {
		return done, err
	}
	p, err := plan(ctx, t, o)
	if err != nil {
		return done, err
	}
	if without.Scan {
		time.Sleep(time.Until(o.round.ripeAt))
	}
	if confirm != nil {
		if err := confirm(p); err != nil {
			return done, err
		}
	}
	if p.Refused != nil {
		return done, p.Refused
	}
	if p.changed {
		if err := p.adjourn(ctx); err != nil {
			return done, err
		}
	}
	s := &sweep{Plan: p, begun: time.Now(), state: o.round.plan, version: o.round.version, went: map[int32]bool{}}
	if s.state.KeepYoung != s.keepYoung() || s.version == "" { // from now on, writers renew
		if err := s.change(ctx, func(*layout.SweepPlan) {}); err != nil {
			return done, err
		}
	}
	if err := s.sweepRound(ctx); err != nil {
		return done, err
	}
	if err := s.removeLeftovers(ctx); err != nil {
		return done, err
	}
	if done, err = s.finish(ctx); err != nil {
		return done, err
	}
	err = s.condemnRest(ctx)
	done.Condemned, done.Ripe = s.condemned, s.ripe
	return done, err
}

// sweepRound removes what was condemned and is dead still. A round of which nothing
// is due ends if there is something else to condemn.
func (s *sweep) sweepRound(ctx context.Context) error {
	r := s.o.round
	if !r.ripe {
		return nil
	}
	if len(s.withdraw)+len(s.reclaim) == 0 {
		if s.overdue || s.Waiting.Count == 0 { // there is something else to condemn, or nothing is dead
			return s.rest(ctx)
		}
		return nil
	}
	s.state.Epoch++
	s.noted = newChanges(s.v)
	if err := s.withdrawSlices(ctx); err != nil {
		return s.abandon(ctx, err)
	}
	if !s.o.NoReclaim {
		s.stillVictims()
		if err := s.reclaimSlices(ctx); err != nil {
			return s.abandon(ctx, err)
		}
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	if !s.o.NoReclaim {
		if err := s.forget(ctx); err != nil {
			return err
		}
	}
	return s.tidy(ctx)
}

// withdrawSlices withdraws those of the paths that were condemned.
func (s *sweep) withdrawSlices(ctx context.Context) error {
	r := s.o.round
	realisations := s.realisations()
	levels := s.v.levels(s.withdraw)
	if without.Order {
		slices.Reverse(levels)
	}
	for n := 1; n <= s.state.Slices; n++ {
		var some [][]int32
		for _, level := range levels {
			var part []int32
			for _, i := range level {
				if r.slice(s.v.sentence(i)) == n {
					part = append(part, i)
				}
			}
			if len(part) > 0 {
				some = append(some, part)
			}
		}
		if len(some) == 0 {
			continue
		}
		s.slice = n
		if err := s.withdrawTurn(ctx, some, realisations); err != nil {
			return err
		}
	}
	return nil
}

// reclaimSlices removes those of the other objects that were condemned.
func (s *sweep) reclaimSlices(ctx context.Context) error {
	for n := 1; n <= s.state.Slices; n++ {
		var some []victim
		for _, gone := range s.reclaim {
			if s.o.round.slice(s.v.sentenceOf(gone)) == n {
				some = append(some, gone)
			}
		}
		if len(some) == 0 {
			continue
		}
		s.slice = n
		if err := s.reclaimTurn(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// inSlice does work while writers count the slice as absent, after it has read what
// they rely on.
func (s *sweep) inSlice(ctx context.Context, work func(context.Context, *changes) error) error {
	if without.NotesEarly {
		if err := s.readNotes(ctx); err != nil {
			return err
		}
	}
	// Dying from here on leaves a plan whose sweep others end, when nothing of it can
	// arrive any more.
	err := s.change(ctx, func(p *layout.SweepPlan) { p.State, p.Slice = layout.SweepSweeping, s.slice })
	if err != nil {
		return err
	}
	if !without.NotesEarly {
		if err := s.readNotes(ctx); err != nil {
			return err
		}
	}
	if !without.Lease {
		ctx = layout.SignBy(ctx, s.changed.Add(s.state.SweepLease()))
	}
	return work(ctx, s.noted)
}

// readNotes keeps what writers rely on, and all that it leads to.
func (s *sweep) readNotes(ctx context.Context) error {
	for info, err := range s.v.tree.List(ctx, layout.NotesPrefix+s.state.Round+"/") {
		if err != nil {
			return fmt.Errorf("list what writers rely on: %w", err)
		}
		if s.notesRead[info.Key] {
			continue
		}
		text, err := layout.ReadAll(ctx, s.v.tree, info.Key)
		if err != nil {
			return err
		}
		keys, err := layout.ParseSweepNote(text)
		if err != nil {
			return fmt.Errorf("read %s: %w", info.Key, err)
		}
		for _, key := range keys {
			s.noted.note(key)
		}
		if s.notesRead == nil {
			s.notesRead = map[layout.Key]bool{}
		}
		s.notesRead[info.Key] = true
	}
	return ctx.Err()
}

// abandon ends a sweep that failed. Unless a removal may still happen, writers need
// not wait.
func (s *sweep) abandon(ctx context.Context, err error) error {
	if s.state.State != layout.SweepSweeping || errors.Is(err, layout.ErrUnanswered) && !without.Unanswered || errors.Is(err, ErrOvertaken) {
		return err
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
	}
	s.rest(ctx) // failing that, it ends by itself
	return err
}

// rest ends a round.
func (s *sweep) rest(ctx context.Context) error {
	return s.change(ctx, func(p *layout.SweepPlan) { p.State, p.Slice, p.Slices, p.Round = layout.SweepIdle, 0, 0, "" })
}

// change changes the plan, if it is still the one that was read.
func (s *sweep) change(ctx context.Context, edit func(*layout.SweepPlan)) error {
	next := s.state
	edit(&next)
	begun := time.Now()
	next.Nonce, next.By, next.At, next.KeepYoung = rand.Text(), process(), begun.UTC(), s.keepYoung()
	text, err := encode(next)
	if err != nil {
		return err
	}
	opts := layout.PutOptions{IfMatch: s.version}
	if s.version == "" {
		opts = layout.PutOptions{IfAbsent: true}
	}
	if without.CAS {
		opts = layout.PutOptions{}
	}
	err = s.v.tree.Put(ctx, layout.PlanKey, layout.Bytes(text), opts)
	if err != nil && !errors.Is(err, layout.ErrChanged) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The answer does not tell the version, and an answer may have been lost.
	have, info, err := layout.ReadVersion(ctx, s.v.tree, layout.PlanKey)
	if err != nil {
		return err
	}
	if now, err := layout.ParseSweepPlan(have); err != nil {
		return err
	} else if now.Nonce != next.Nonce && !without.CAS {
		return ErrOvertaken
	}
	s.state, s.version, s.changed = next, info.ETag, begun
	return nil
}

// tidy removes the lists and notes of rounds that are over for so long that no writer
// asks for them.
func (s *sweep) tidy(ctx context.Context) error {
	var keys []layout.Key
	for _, prefix := range []string{layout.ListsPrefix, layout.NotesPrefix} {
		for info, err := range s.v.tree.List(ctx, prefix) {
			if err != nil {
				return fmt.Errorf("list what earlier rounds left: %w", err)
			}
			if s.v.now.Sub(info.ModTime) > listsLast {
				keys = append(keys, info.Key)
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return layout.DeleteBatch(ctx, s.v.tree, keys)
}

// listsLast is how long the lists of a round stay.
const listsLast = 7 * 24 * time.Hour

package gc

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// takeFenced takes paths out of a bucket. They are condemned, so that writers leave
// notes about them, and go when the fence has passed. The lock is held all the
// time: another run would end the round. A process that dies meanwhile leaves the
// round, with which the next one goes on that takes the same paths.
func takeFenced(ctx context.Context, t layout.Tree, paths []layout.StorePath, o TakeOptions, done *Taken) error {
	condemned := false
	for {
		r, err := readRound(ctx, t, true)
		if err != nil {
			return err
		}
		o.round = r
		p, err := planTake(ctx, t, paths, o, done)
		s := &sweep{Plan: p, begun: time.Now(), state: r.plan, version: r.version, went: map[int32]bool{}, unrecorded: o.Purge}
		if err != nil {
			if condemned { // a pin or a path needs one of them by now
				s.Plan = &Plan{v: &view{tree: t}}
				s.o.KeepYoung = time.Duration(r.plan.KeepYoung) * time.Second
				s.rest(ctx) // failing that, the next run does
			}
			return err
		}
		if len(s.withdraw)+len(s.reclaim) == 0 {
			return nil
		}
		if !condemned && !s.allCondemned() {
			if err := s.condemnTaken(ctx); err != nil {
				return err
			}
			condemned = true
			continue
		}
		condemned = true
		if r.ripe {
			done.Run, err = s.takeRound(ctx)
			return err
		}
		if o.NoWait {
			done.Run.Condemned, done.Run.Ripe = int64(len(r.objects)), r.ripeAt
			return nil
		}
		if err := o.waitUntil(ctx, r.ripeAt); err != nil {
			return err
		}
	}
}

// waitUntil waits, and a moment longer: the clock of the store may be behind.
func (o *TakeOptions) waitUntil(ctx context.Context, until time.Time) error {
	until = until.Add(100 * time.Millisecond)
	if o.Waits != nil {
		o.Waits(until)
		defer o.Waits(time.Time{})
	}
	return layout.Sleep(ctx, time.Until(until))
}

// allCondemned reports whether the round that is under way has all that is to go.
func (s *sweep) allCondemned() bool {
	r := s.o.round
	if r.plan.State != layout.SweepCondemned {
		return false
	}
	for _, i := range s.withdraw {
		if r.slice(s.v.sentence(i)) == 0 {
			return false
		}
	}
	for _, gone := range s.reclaim {
		if r.slice(s.v.sentenceOf(gone)) == 0 {
			return false
		}
	}
	return true
}

// condemnTaken begins a round with what is to go. A round that is under way ends: the
// next run of Collect condemns its objects anew.
func (s *sweep) condemnTaken(ctx context.Context) error {
	proof, err := layout.ProveFence(ctx, s.v.tree)
	if err != nil {
		return err
	}
	if !proof.Conditions {
		return ErrNoConditions
	}
	if s.state.State != layout.SweepIdle {
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	var l slicer
	l.addPaths(s)
	for _, gone := range s.reclaim {
		l.add(gone.key, s.v.sentenceOf(gone))
	}
	l.next()
	return s.beginRound(ctx, l.lists, proof.Late)
}

// takeRound removes what is to go. A path that was put again since it was condemned
// stays, with all that it leads to.
func (s *sweep) takeRound(ctx context.Context) (Run, error) {
	v, r := s.v, s.o.round
	var again []int32
	for _, i := range s.withdraw {
		if r.slice(v.sentence(i)) == 0 {
			again = append(again, i)
		}
	}
	s.state.Epoch++
	s.noted = newChanges(v)
	for _, i := range again {
		s.noted.keep(v.id(i))
	}
	err := s.withdrawSlices(ctx)
	if err == nil {
		err = s.reclaimSlices(ctx)
	}
	if err != nil {
		return Run{}, s.abandon(ctx, err)
	}
	if err := s.rest(ctx); err != nil {
		return Run{}, err
	}
	return s.finish(ctx)
}

package gc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// Preview returns the plan that Collect would carry out now. It changes nothing.
func Preview(ctx context.Context, t layout.Tree, o Options) (*Plan, error) {
	o.Progress = orNew(o.Progress)
	if err := open(ctx, t); err != nil {
		return nil, err
	}
	if layout.IsFenced(t) {
		var err error
		if o.round, err = readRound(ctx, t, false); err != nil {
			return nil, err
		}
	}
	return plan(ctx, t, o)
}

// hold does work under the lock of the tree.
func hold(ctx context.Context, l *lock.Lock, work func(context.Context) error) error {
	if without.Lock {
		return work(ctx)
	}
	return l.Do(ctx, work)
}

// Collect removes from a tree what nothing keeps. It makes a plan, hands it to
// confirm, and carries it out unless that returns an error. Only one run, or
// mirror, is at work at a time: the error is a *lock.HeldError if another one is.
func Collect(ctx context.Context, t layout.Tree, o Options, confirm func(*Plan) error) (done Run, err error) {
	o.Progress = orNew(o.Progress)
	if err := open(ctx, t); err != nil {
		return done, err
	}
	l := &lock.Lock{Tree: t, Try: true}
	err = hold(ctx, l, func(ctx context.Context) (err error) {
		if layout.IsFenced(t) {
			done, err = collectFenced(ctx, t, o, confirm)
			return err
		}
		p, err := plan(ctx, t, o)
		if err != nil {
			return err
		}
		if confirm != nil {
			if err := confirm(p); err != nil {
				return err
			}
		}
		if p.Refused != nil {
			return p.Refused
		}
		done, err = p.execute(ctx)
		return err
	})
	return done, err
}

// execute carries a plan out. On a full disk it removes what is due, or no run would
// ever make room, and returns the error nevertheless: the rest is left to the next run.
func (p *Plan) execute(ctx context.Context) (done Run, err error) {
	v, o := p.v, p.o
	layout.Sweep(v.tree)
	var noRoom error
	later := func(err error) error {
		if isFull(err) {
			noRoom, err = cmp.Or(noRoom, err), nil
		}
		return err
	}
	if p.changed {
		if err := later(p.adjourn(ctx)); err != nil {
			return done, err
		}
	}
	s, err := p.begin(ctx)
	if err != nil {
		return done, err
	}
	if err := later(s.withdrawAll(ctx)); err != nil {
		return done, err
	}
	if !o.NoReclaim {
		s.full = noRoom != nil
		if err := s.reclaimAll(ctx); err != nil {
			return done, err
		}
	}
	if s.touched {
		if err := s.announce(ctx); err != nil {
			return done, err
		}
	}
	if done, err = s.finish(ctx); err != nil {
		return done, err
	}
	return done, noRoom
}

// isFull reports whether there is no room left where a tree is.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// begin makes the sweep that carries the plan out.
func (p *Plan) begin(ctx context.Context) (*sweep, error) {
	s := &sweep{Plan: p, begun: time.Now()}
	have, err := layout.ReadSweepPlan(ctx, p.v.tree)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.state = have
	if err != nil || have.KeepYoung != s.keepYoung() { // from now on, writers renew
		if err := s.announce(ctx); err != nil {
			return nil, err
		}
	}
	s.state.Epoch++
	return s, nil
}

// adjourn writes the docket, and compares the clocks: an age that is the
// difference of two clocks means nothing if one is wrong.
func (p *Plan) adjourn(ctx context.Context) error {
	t := p.v.tree
	if err := t.Put(ctx, layout.CondemnedKey, p.docket.body(), layout.PutOptions{}); err != nil {
		return err
	}
	return checkClock(ctx, t, layout.CondemnedKey)
}

// checkClock compares the clock of this machine with that of the tree, by an object
// that was put a moment ago.
func checkClock(ctx context.Context, t layout.Tree, key layout.Key) error {
	info, err := t.Stat(ctx, key)
	if err != nil {
		return err
	}
	if by := time.Until(info.ModTime); by.Abs() > skew {
		return &ClockError{key, by}
	}
	return nil
}

func process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("process %d on %.100s", os.Getpid(), host)
}

func (s *sweep) keepYoung() int64 { return int64(s.o.KeepYoung / time.Second) }

// announce changes the plan of the tree.
func (s *sweep) announce(ctx context.Context) error {
	s.state.Nonce, s.state.By = rand.Text(), process()
	s.state.KeepYoung = s.keepYoung()
	text, err := encode(s.state)
	if err != nil {
		return err
	}
	err = s.v.tree.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
	if !s.full || !isFull(err) {
		s.touched = false
		return err
	}
	// Writers know the plan by its version alone. The rest of it is put when there is
	// room, before the epoch has a record.
	if layout.Touch(s.v.tree, layout.PlanKey) != nil {
		return err
	}
	s.touched = true
	return nil
}

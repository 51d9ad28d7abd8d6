package gc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// Options say what a run keeps. The zero value keeps nothing that is not pinned,
// and waits for nothing: callers set the times.
type Options struct {
	KeepYoung time.Duration // what was put within this time stays
	Undo      time.Duration // for how long what is withdrawn can be brought back
	Grace     time.Duration // for how long an object has to be dead before it goes
	// MaxRemoval is the share of all bytes that may go in one run; 0 for half.
	MaxRemoval float64
	NoPins     bool // the tree is meant to have none

	NoReclaim   bool // withdraw alone
	ReclaimOnly bool // and nothing else

	NameAll  bool // the plan names all paths that go
	Jobs     int  // requests at once; 0 for 16
	Progress *Progress

	Now func() time.Time // nil for the clock; for tests
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

// A Run is what a run did.
type Run struct {
	Epoch     int64     `json:"epoch"`
	Time      time.Time `json:"time"`
	By        string    `json:"by"`
	Withdrawn Size      `json:"withdrawn"` // paths
	Reclaimed Size      `json:"reclaimed"` // objects
	Kept      int64     `json:"kept"`      // paths that were to go and are wanted again
	UndoUntil time.Time `json:"undoUntil"`
	Seconds   float64   `json:"seconds"`
}

// maxRuns is how many runs are told of.
const maxRuns = 1000

// Preview returns the plan that Collect would carry out now. It changes nothing.
func Preview(ctx context.Context, t layout.Tree, o Options) (*Plan, error) {
	o.Progress = orNew(o.Progress)
	if err := open(ctx, t); err != nil {
		return nil, err
	}
	return plan(ctx, t, o)
}

func orNew(p *Progress) *Progress {
	if p == nil {
		return &Progress{}
	}
	return p
}

// ErrClosed says that a mirror removes from a tree what its source does not have.
var ErrClosed = errors.New("the tree is a mirror that is kept equal to another tree")

// ErrPruned says that a tree is pruned by itself.
var ErrPruned = errors.New("the tree is pruned by itself, and has what its pins and its age say")

// open refuses a tree that must not be swept.
func open(ctx context.Context, t layout.Tree) error {
	if !layout.CanSweep(t) {
		return layout.ErrNoGate
	}
	plan, err := layout.ReadSweepPlan(ctx, t)
	if err == nil && plan.Closed {
		return ErrClosed
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// Close hands a tree to a mirror, which removes what its source does not have. The
// error is ErrPruned if the tree was pruned before. The caller holds the lock of
// the tree.
func Close(ctx context.Context, t layout.Tree) error {
	if !layout.CanSweep(t) {
		return nil // it is never pruned
	}
	plan, err := layout.ReadSweepPlan(ctx, t)
	switch {
	case err == nil && plan.Closed:
		return nil
	case err == nil:
		return ErrPruned
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return setClosed(ctx, t, layout.SweepPlan{}, true)
}

// Open lets a tree be pruned that was a mirror. The mirror must not run any more.
func Open(ctx context.Context, t layout.Tree) error {
	plan, err := layout.ReadSweepPlan(ctx, t)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !plan.Closed {
		return nil
	}
	if err != nil {
		return err
	}
	return setClosed(ctx, t, plan, false)
}

func setClosed(ctx context.Context, t layout.Tree, plan layout.SweepPlan, closed bool) error {
	plan.Closed, plan.Nonce, plan.By = closed, rand.Text(), process()
	text, err := encode(plan)
	if err != nil {
		return err
	}
	return t.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
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
	err = l.Do(ctx, func(ctx context.Context) error {
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

// execute carries a plan out.
func (p *Plan) execute(ctx context.Context) (Run, error) {
	v, o := p.v, p.o
	layout.Sweep(v.tree)
	if p.fresh {
		if err := v.remember(ctx); err != nil {
			return Run{}, err
		}
	}
	if p.changed {
		if err := p.adjourn(ctx); err != nil {
			return Run{}, err
		}
	}
	s, err := p.begin(ctx)
	if err != nil {
		return Run{}, err
	}
	if err := s.withdrawAll(ctx); err != nil {
		return Run{}, err
	}
	if !o.NoReclaim {
		if err := s.reclaimAll(ctx); err != nil {
			return Run{}, err
		}
	}
	return s.finish(ctx)
}

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

// finish writes down what was done, if anything was.
func (s *sweep) finish(ctx context.Context) (Run, error) {
	if s.withdrew.Count+s.reclaimed.Count == 0 {
		return Run{}, nil
	}
	run := Run{Epoch: s.state.Epoch, Time: s.v.now.UTC(), By: process(), Withdrawn: s.withdrew, Reclaimed: s.reclaimed,
		Kept: s.kept, UndoUntil: s.Undo.UTC(), Seconds: time.Since(s.begun).Seconds()}
	return run, note(ctx, s.v.tree, run)
}

// adjourn writes the docket, and compares the clocks: an age that is the
// difference of two clocks means nothing if one is wrong.
func (p *Plan) adjourn(ctx context.Context) error {
	t := p.v.tree
	if err := t.Put(ctx, layout.CondemnedKey, p.docket.body(), layout.PutOptions{}); err != nil {
		return err
	}
	info, err := t.Stat(ctx, layout.CondemnedKey)
	if err != nil {
		return err
	}
	if by := time.Until(info.ModTime); by.Abs() > skew {
		return &ClockError{layout.CondemnedKey, by}
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
	return s.v.tree.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
}

// note writes down what a run did, and forgets the runs of long ago.
func note(ctx context.Context, t layout.Tree, run Run) error {
	text, err := encode(run)
	if err != nil {
		return err
	}
	key := layout.Key(fmt.Sprintf("%s%08d", layout.RunsPrefix, run.Epoch))
	if err := t.Put(ctx, key, layout.Bytes(text), layout.PutOptions{}); err != nil {
		return err
	}
	var keys []layout.Key
	for info, err := range t.List(ctx, layout.RunsPrefix) {
		if err != nil {
			return err
		}
		keys = append(keys, info.Key)
	}
	if len(keys) <= maxRuns {
		return nil
	}
	return layout.DeleteBatch(ctx, t, keys[:len(keys)-maxRuns])
}

// Runs returns what runs did that removed something, the newest first.
func Runs(ctx context.Context, t layout.Lister) ([]Run, error) {
	var runs []Run
	for info, err := range t.List(ctx, layout.RunsPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the runs: %w", err)
		}
		text, err := layout.ReadAll(ctx, t, info.Key)
		if err != nil {
			return nil, err
		}
		var run Run
		if err := json.Unmarshal(text, &run); err != nil {
			return nil, fmt.Errorf("read %s: %w", strings.TrimPrefix(string(info.Key), layout.PrivatePrefix), err)
		}
		runs = append([]Run{run}, runs...)
	}
	return runs, nil
}

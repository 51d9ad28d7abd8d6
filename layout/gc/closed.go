package gc

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// ErrPruned says that a tree is pruned by itself.
var ErrPruned = errors.New("the cache is pruned by itself, and has what its pins and its age say")

// open refuses a tree that must not be swept.
func open(ctx context.Context, t layout.Tree) error {
	if !layout.CanSweep(t) {
		return layout.ErrNoGate
	}
	plan, err := layout.ReadSweepPlan(ctx, t)
	if err == nil && plan.Closed {
		return layout.ErrClosed
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

// setClosed changes who may write to a tree. In a directory, writers that came before
// have gone when it returns.
func setClosed(ctx context.Context, t layout.Tree, plan layout.SweepPlan, closed bool) error {
	if layout.IsFenced(t) {
		// Requests of writers that did not know may arrive for an hour. A mirror that waited
		// for it would copy nothing: its operator has to stop them before.
		return setClosedFenced(ctx, t, closed)
	}
	leave, err := layout.Exclude(ctx, t)
	if err != nil {
		return err
	}
	defer leave()
	plan.Closed, plan.Nonce, plan.By = closed, rand.Text(), process()
	text, err := encode(plan)
	if err != nil {
		return err
	}
	return t.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
}

// setClosedFenced is setClosed in a bucket. It changes the plan that is there by then, if
// there is one.
func setClosedFenced(ctx context.Context, t layout.Tree, closed bool) error {
	have, info, err := layout.ReadVersion(ctx, t, layout.PlanKey)
	opts := layout.PutOptions{IfMatch: info.ETag}
	var plan layout.SweepPlan
	switch {
	case errors.Is(err, fs.ErrNotExist):
		opts = layout.PutOptions{IfAbsent: true}
	case err != nil:
		return err
	default:
		if plan, err = layout.ParseSweepPlan(have); err != nil {
			return err
		}
	}
	if closed && opts.IfMatch != "" && !plan.Closed {
		return ErrPruned
	}
	plan.Closed, plan.Nonce, plan.By = closed, rand.Text(), process()
	text, err := encode(plan)
	if err != nil {
		return err
	}
	err = t.Put(ctx, layout.PlanKey, layout.Bytes(text), opts)
	if errors.Is(err, errors.ErrUnsupported) {
		err = t.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, layout.ErrChanged) {
		return ErrOvertaken
	}
	return err
}

package gc

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// ErrPruned says that a tree is pruned by itself.
var ErrPruned = errors.New("the tree is pruned by itself, and has what its pins and its age say")

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
	if _, ok := t.(layout.Fenced); ok {
		return Unpruned(ctx, t)
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

// setClosed changes who may write to a tree. Writers that came before have gone when
// it returns.
func setClosed(ctx context.Context, t layout.Tree, plan layout.SweepPlan, closed bool) error {
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

// Unpruned returns ErrPruned for a bucket that is pruned: a mirror does not tell its
// sweeper what it relies on.
func Unpruned(ctx context.Context, t layout.Tree) error {
	if _, ok := t.(layout.Fenced); !ok {
		return nil
	}
	plan, err := layout.ReadSweepPlan(ctx, t)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && !plan.Closed:
		return ErrPruned
	}
	return err
}

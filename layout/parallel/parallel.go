// Package parallel does the same work for many items, a bounded number of them at
// a time.
package parallel

import (
	"context"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Each does work for all items, jobs at a time. It ends at the first error, of
// the items or of the work, and returns the cause of the context's end if that
// came first. When it returns, all work has ended.
func Each[In any](ctx context.Context, jobs int, items iter.Seq2[In, error], work func(context.Context, In) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	var listing error
	for item, err := range items {
		if err != nil || inGroup.Err() != nil {
			listing = err
			break
		}
		group.Go(func() error { return work(inGroup, item) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return listing
}

// Map does work for each item, jobs at a time, and yields the outcomes in the
// order of the items. When it returns, all work has ended.
func Map[In, Out any](ctx context.Context, jobs int, items iter.Seq[In], work func(context.Context, In) Out) iter.Seq[Out] {
	pairs := func(yield func(In, error) bool) {
		for item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
	return func(yield func(Out) bool) {
		outcomes := InOrder(ctx, jobs, pairs, nil, func(ctx context.Context, item In) (Out, error) { return work(ctx, item), nil })
		for out := range outcomes {
			if !yield(out) {
				return
			}
		}
	}
}

// queueAhead is how many outcomes per job may be finished before the one that
// is waited for.
const queueAhead = 16

// InOrder does work for each item, jobs at a time, and yields the outcomes in
// the order of the items. An item that quick answers costs no goroutine; quick
// may be nil. It stops at the first error. When it returns, all work has ended.
func InOrder[In, Out any](ctx context.Context, jobs int, items iter.Seq2[In, error],
	quick func(In) (Out, bool), work func(context.Context, In) (Out, error)) iter.Seq2[Out, error] {
	type outcome struct {
		out Out
		err error
	}
	type place struct {
		done outcome
		wait chan outcome // nil: done already
	}
	return func(yield func(Out, error) bool) {
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		slots := make(chan struct{}, jobs)
		var queue []place
		pop := func() bool {
			head := queue[0]
			queue = queue[1:]
			if head.wait != nil {
				head.done = <-head.wait
			}
			return yield(head.done.out, head.done.err) && head.done.err == nil
		}
		for item, err := range items {
			next := place{done: outcome{err: err}}
			ready := err != nil
			if !ready && quick != nil {
				next.done.out, ready = quick(item)
			}
			if !ready {
				next.wait = make(chan outcome, 1)
				slots <- struct{}{}
				running.Go(func() {
					out, err := work(ctx, item)
					next.wait <- outcome{out, err}
					<-slots
				})
			}
			queue = append(queue, next)
			for len(queue) > 0 && (queue[0].wait == nil || len(queue) > jobs*queueAhead) {
				if !pop() {
					return
				}
			}
		}
		for len(queue) > 0 {
			if !pop() {
				return
			}
		}
	}
}

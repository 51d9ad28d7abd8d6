package fsck

import (
	"context"
	"iter"
	"sync"
)

// ahead is how many items per job may be finished before the one that is
// waited for.
const ahead = 16

// ordered does work for each item, jobs at a time, and yields the outcomes in
// the order of the items. When it returns, all work has ended.
func ordered[In, Out any](ctx context.Context, jobs int, items iter.Seq[In], work func(context.Context, In) Out) iter.Seq[Out] {
	return func(yield func(Out) bool) {
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		slots := make(chan struct{}, jobs)
		var queue []chan Out
		for item := range items {
			if len(queue) == jobs*ahead {
				if !yield(<-queue[0]) {
					return
				}
				queue = queue[1:]
			}
			outcome := make(chan Out, 1)
			queue = append(queue, outcome)
			slots <- struct{}{}
			running.Go(func() {
				outcome <- work(ctx, item)
				<-slots
			})
		}
		for _, outcome := range queue {
			if !yield(<-outcome) {
				return
			}
		}
	}
}

package through

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A question to upstreams takes so much of the budget of its client, and one for a path
// that no upstream has takes more: readers hardly ask for such paths, and a client that
// makes hashes up asks for nothing else. The budget is that of a closure of 20,000 paths, or of 5,000
// that upstreams do not have, and fills again at 50 questions a second.
const (
	costOfAsking  = 20 * time.Millisecond
	costOfAbsence = 3 * costOfAsking
	wholeBudget   = 20_000 * costOfAsking
	maxBudgets    = 10_000 // clients that are remembered
)

// A budget is a token bucket for each client. The zero value is ready.
type budget struct {
	mu sync.Mutex
	// full says when a bucket will be full again; a client without an entry has a full
	// one.
	full map[share.Client]time.Time
}

// A BudgetError says that a client asks upstreams for too much.
type BudgetError struct{ Wait time.Duration }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("this client asks for too much that is not in this cache: the next question is taken in %s", e.Wait.Round(time.Second))
}

// RetryAfter is when the client may ask again.
func (e *BudgetError) RetryAfter() time.Duration { return e.Wait }

// take takes a cost from the budget of a client, and waits until there is that much.
func (b *budget) take(ctx context.Context, c share.Client, cost time.Duration) error {
	over := b.charge(c, cost)
	if over <= 0 {
		return nil
	}
	if over > askPatience {
		b.charge(c, -cost)
		return &BudgetError{over}
	}
	select {
	case <-time.After(over):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// charge takes a cost, and returns how much too large it is.
func (b *budget) charge(c share.Client, cost time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	full, known := b.full[c]
	if full.Before(now) {
		full = now
	}
	if !known && len(b.full) >= maxBudgets {
		b.forget(now)
	}
	if b.full == nil {
		b.full = map[share.Client]time.Time{}
	}
	full = full.Add(cost)
	b.full[c] = full
	return full.Sub(now) - wholeBudget
}

// forget makes room: first of clients whose bucket is full again, and where that is
// not enough, of half of the others.
func (b *budget) forget(now time.Time) {
	for c, full := range b.full {
		if !full.After(now) {
			delete(b.full, c)
		}
	}
	for c := range b.full {
		if len(b.full) <= maxBudgets/2 {
			return
		}
		delete(b.full, c)
	}
}

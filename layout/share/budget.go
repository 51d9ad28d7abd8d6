package share

import (
	"context"
	"sync"
	"time"
)

// maxBudgets bounds the clients that a Budget remembers.
const maxBudgets = 10_000

// A Budget bounds what each client may have done: so much at once, and one more in
// each span of time. It is safe for concurrent use. Nil has no bound.
type Budget struct {
	whole, each time.Duration

	mu sync.Mutex
	// full says when a client may have all at once again; one without an entry may at
	// any moment.
	full map[Client]time.Time
}

// NewBudget returns a budget of n at once, and one more each so often.
func NewBudget(n int, each time.Duration) *Budget {
	return &Budget{whole: time.Duration(n) * each, each: each, full: map[Client]time.Time{}}
}

// Take takes n from the budget of the client of ctx, and waits until there is that much,
// for no longer than patience. Otherwise it takes nothing, the error is ErrBusy, and over
// is how long the client would have had to wait.
func (b *Budget) Take(ctx context.Context, n int, patience time.Duration) (over time.Duration, err error) {
	c := From(ctx)
	over = b.Charge(c, n)
	if over <= 0 {
		return over, nil
	}
	if over > patience {
		b.Charge(c, -n)
		return over, ErrBusy
	}
	select {
	case <-time.After(over):
		return over, nil
	case <-ctx.Done():
		return over, context.Cause(ctx)
	}
}

// Charge takes n, whether there is that much or not, and returns how long it takes until
// the client owes nothing.
func (b *Budget) Charge(c Client, n int) (over time.Duration) {
	if b == nil {
		return 0
	}
	c = c.Pseudonym()
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
	full = full.Add(time.Duration(n) * b.each)
	b.full[c] = full
	return full.Sub(now) - b.whole
}

// forget makes room: first of clients that may have all again, and where that is not
// enough, of half of the others.
func (b *Budget) forget(now time.Time) {
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

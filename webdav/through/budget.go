package through

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A question to upstreams takes one of the budget of its client, and one for a path that
// no upstream has takes more: readers hardly ask for such paths, and a client that makes
// hashes up asks for nothing else. The budget is that of a closure of 20,000 paths, or of
// 5,000 that upstreams do not have, and fills again at 50 questions a second.
const (
	wholeBudget   = 20_000
	costOfAbsence = 3
	budgetStep    = 20 * time.Millisecond
)

// A BudgetError says that a client asks upstreams for too much.
type BudgetError struct{ Wait time.Duration }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("this client asks for too much that is not in this cache: the next question is taken in %s", e.Wait.Round(time.Second))
}

// RetryAfter is when the client may ask again.
func (e *BudgetError) RetryAfter() time.Duration { return e.Wait }

// afford waits until the client of ctx may ask once more.
func (f *Filler) afford(ctx context.Context) error {
	over, err := f.budget.Take(ctx, 1, askPatience)
	if errors.Is(err, share.ErrBusy) {
		return &BudgetError{over}
	}
	return err
}

package layout

import (
	"context"
	"errors"
	"time"
)

// A request to a store on another machine can arrive long after it was sent, and no
// lock holds it back. Its signature bounds it: a store refuses one that is older than
// some minutes. So a writer says until when its requests may be signed,
// and a sweeper waits for as long as these can take.

// ErrLate says that a request was not sent because its time was over: what its
// sender knows of the tree may have changed. The sender looks again.
var ErrLate = errors.New("too late to be sent: what it rests on may have changed")

// ErrUnanswered says that a removal got no answer. It may still happen, at any moment
// until the fence of the tree has passed. In a context of SignBy it is told even if a
// later attempt got an answer.
var ErrUnanswered = errors.New("a removal got no answer, and may still happen")

type signBy struct{}

// SignBy returns a context in which a tree on another machine sends no request that
// was signed after a moment: the error is ErrLate. Each attempt is compared, after
// it was signed. A tree on this machine takes no notice.
func SignBy(ctx context.Context, until time.Time) context.Context {
	if before, ok := ctx.Value(signBy{}).(time.Time); ok && before.Before(until) {
		until = before
	}
	return context.WithValue(ctx, signBy{}, until)
}

type signWhile struct{}

// SignWhile returns a context in which the same holds for a moment that moves: the end
// of a lease that its holder renews.
func SignWhile(ctx context.Context, until func() time.Time) context.Context {
	return context.WithValue(ctx, signWhile{}, until)
}

// Late reports whether the time that SignBy or SignWhile set is over. Both clocks are asked: the
// monotonic one stands still while a machine sleeps, and the other one may be set.
func Late(ctx context.Context) bool {
	now := time.Now()
	over := func(until time.Time) bool { return now.After(until) || now.Round(0).After(until.Round(0)) }
	if until, ok := ctx.Value(signBy{}).(time.Time); ok && over(until) {
		return true
	}
	until, ok := ctx.Value(signWhile{}).(func() time.Time)
	return ok && over(until())
}

// Timed reports whether SignBy set a time.
func Timed(ctx context.Context) bool {
	_, ok := ctx.Value(signBy{}).(time.Time)
	return ok
}

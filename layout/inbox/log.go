package inbox

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A client may have the log told of so many of its uploads that waited at once, and of
// one more each second: it could fill a disk with them.
const maxTold = 10_000

// A clientLog is a log in which each client has its share of lines.
type clientLog struct {
	slog.Handler
	told   *share.Budget
	untold *atomic.Int64 // lines that were too many
}

func newLog(log *slog.Logger) *slog.Logger {
	return slog.New(clientLog{log.Handler(), share.NewBudget(maxTold, time.Second), new(atomic.Int64)})
}

// Handle passes a line on, unless its client has had too many.
func (l clientLog) Handle(ctx context.Context, line slog.Record) error {
	if _, err := l.told.Take(ctx, 1, 0); err != nil {
		l.untold.Add(1)
		return nil
	}
	if n := l.untold.Swap(0); n > 0 {
		line = line.Clone()
		line.Add("untold", n)
	}
	return l.Handler.Handle(ctx, line)
}

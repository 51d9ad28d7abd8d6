package sync

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A limiter holds what passes to so many bytes a second, however many pass at
// once. A nil limiter lets all pass.
type limiter struct {
	rate int64 // bytes a second

	mu   sync.Mutex
	free time.Time // when all that has passed is paid for
}

// limitPiece is the most that passes at once, so that slow rates stay smooth.
const limitPiece = 32 << 10

// newLimiter returns nil for a rate of 0.
func newLimiter(rate int64) *limiter {
	if rate <= 0 {
		return nil
	}
	return &limiter{rate: rate}
}

// pass waits until n bytes may pass. Idle time is not saved up.
func (l *limiter) pass(ctx context.Context, n int) error {
	if l == nil || n <= 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	wait := l.free.Sub(now)
	l.free = l.free.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	l.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return sleepContext(ctx, wait)
}

// reader limits what is read from r.
func (l *limiter) reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return &limitedReader{ctx, l, r}
}

type limitedReader struct {
	ctx context.Context
	l   *limiter
	r   io.Reader
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), limitPiece)])
	if waitErr := r.l.pass(r.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

// body limits what is read from b.
func (l *limiter) body(ctx context.Context, b layout.Body) layout.Body {
	if l == nil {
		return b
	}
	return &limitedBody{b, ctx, l}
}

type limitedBody struct {
	layout.Body
	ctx context.Context
	l   *limiter
}

func (b *limitedBody) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) && err == nil {
		piece := p[done:min(len(p), done+limitPiece)]
		if err := b.l.pass(b.ctx, len(piece)); err != nil {
			return done, err
		}
		var n int
		n, err = b.Body.ReadAt(piece, off+int64(done))
		done += n
	}
	return done, err
}

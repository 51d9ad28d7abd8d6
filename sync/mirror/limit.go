package mirror

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/nixstatic/nixstatic/layout"
)

// limitPiece is the most bytes that pass at once, so that slow rates stay
// smooth.
const limitPiece = 32 << 10

// newLimiter holds what passes to so many bytes a second, however many readers
// share it. It returns nil for a rate of 0: there is no limit.
func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), limitPiece)
}

// limitReader limits what is read from r.
func limitReader(ctx context.Context, l *rate.Limiter, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return &limitedReader{ctx, l, r}
}

type limitedReader struct {
	ctx context.Context
	l   *rate.Limiter
	r   io.Reader
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), limitPiece)])
	if waitErr := r.l.WaitN(r.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

// limitBody limits what is read from b.
func limitBody(ctx context.Context, l *rate.Limiter, b layout.Body) layout.Body {
	if l == nil {
		return b
	}
	return &limitedBody{b, ctx, l}
}

type limitedBody struct {
	layout.Body
	ctx context.Context
	l   *rate.Limiter
}

func (b *limitedBody) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) && err == nil {
		piece := p[done:min(len(p), done+limitPiece)]
		if err := b.l.WaitN(b.ctx, len(piece)); err != nil {
			return done, err
		}
		var n int
		n, err = b.Body.ReadAt(piece, off+int64(done))
		done += n
	}
	return done, err
}

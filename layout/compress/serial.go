package compress

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/andybalholm/brotli"
)

// brotliWriter writes one brotli stream on the goroutine of its caller. Brotli files cannot be
// concatenated, so there are no frames to share out.
type brotliWriter struct {
	ctx    context.Context
	z      *brotli.Writer
	closed bool
	err    error
}

func newBrotliWriter(ctx context.Context, w io.Writer, level int) *brotliWriter {
	return &brotliWriter{ctx: ctx, z: brotli.NewWriterLevel(w, level)}
}

func (b *brotliWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && b.usable() {
		piece := p[:min(len(p), pieceSize)]
		took, err := b.z.Write(piece)
		n, p = n+took, p[len(piece):]
		b.fail(err)
	}
	if len(p) > 0 && b.err == nil {
		return n, fmt.Errorf("write compressed stream: %w", os.ErrClosed)
	}
	return n, b.err
}

func (b *brotliWriter) Close() error {
	if b.usable() {
		b.fail(b.z.Close())
	}
	b.closed = true
	return b.err
}

// Frames returns nil: brotli has none.
func (b *brotliWriter) Frames() []Frame { return nil }

func (b *brotliWriter) usable() bool {
	if b.err == nil && !b.closed && b.ctx.Err() != nil {
		b.err = context.Cause(b.ctx)
	}
	return b.err == nil && !b.closed
}

func (b *brotliWriter) fail(err error) {
	if err != nil {
		b.err = fmt.Errorf("write compressed stream: %w", err)
	}
}

// plainWriter is the method none: it passes on what it is given, and its Close keeps to what the
// Close of any other stream promises.
type plainWriter struct {
	ctx    context.Context
	w      io.Writer
	closed bool
	err    error
}

func (p *plainWriter) Write(b []byte) (n int, err error) {
	switch {
	case p.err != nil:
		return 0, p.err
	case p.closed:
		return 0, fmt.Errorf("write stream: %w", os.ErrClosed)
	case p.ctx.Err() != nil:
		p.err = context.Cause(p.ctx)
		return 0, p.err
	}
	if n, err = p.w.Write(b); err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		p.err = fmt.Errorf("write stream: %w", err)
	}
	return n, p.err
}

func (p *plainWriter) Close() error {
	if p.err == nil && !p.closed && p.ctx.Err() != nil {
		p.err = context.Cause(p.ctx)
	}
	p.closed = true
	return p.err
}

// Frames returns nil: every byte can be read by itself.
func (p *plainWriter) Frames() []Frame { return nil }

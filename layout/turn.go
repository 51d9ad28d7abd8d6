package layout

import (
	"context"
	"io"
	"runtime"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A turn is the right to use a processor for one piece of a NAR. A few bytes can
// decompress to gigabytes, which take minutes to hash: if the pieces of all clients
// take turns, the NARs of one client do not slow down those of others. It belongs to
// one goroutine, which has no turn while it waits for something else.
type turn struct {
	ctx  context.Context
	part *share.Part
}

// NewTurns returns the turns of all processors, as many as keep them busy for a client
// alone. A piece of a NAR waits for its turn no longer than patience.
func NewTurns(patience time.Duration) *share.Pool {
	return share.NewPool(int64(2*runtime.GOMAXPROCS(0)-1), patience)
}

// turn waits for the first turn.
func (w *Writer) turn(ctx context.Context) (*turn, error) {
	part, err := w.Turns.Take(ctx, 1)
	if err != nil {
		return nil, err
	}
	return &turn{ctx, part}, nil
}

// end gives the turn back.
func (t *turn) end() { t.part.Release() }

// without does what may have to wait, and waits for the next turn.
func (t *turn) without(wait func() error) error {
	t.part.Resize(t.ctx, 0)
	err := wait()
	if err != nil {
		return err
	}
	return t.part.Resize(t.ctx, 1)
}

// source reads what may have to come first.
func (t *turn) source(r io.Reader) io.Reader { return &turnSource{r, t} }

type turnSource struct {
	r io.Reader
	t *turn
}

func (s *turnSource) Read(p []byte) (n int, err error) {
	failed := s.t.without(func() error {
		n, err = s.r.Read(p)
		return nil
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// pieces has others take their turns after each piece that is written.
func (t *turn) pieces(w io.Writer) io.Writer { return &turnPieces{w, t} }

type turnPieces struct {
	w io.Writer
	t *turn
}

func (p *turnPieces) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err == nil {
		err = p.t.without(func() error { return nil })
	}
	return n, err
}

package compress

import (
	"context"
	"sync"
)

const (
	// frameSize is the content of one frame. It is what Nix itself writes since 2.35 for zstd;
	// half of it costs 1.7 % of size on libraries, twice of it gains 0.5 %.
	frameSize = 16 << 20
	// startSize is where every frame starts, and where a short one ends. Most store paths fit.
	startSize = 1 << 20
	// A buffer has this much room beyond its content, as a part of its content, so that a frame
	// that grows when compressed still fits: bzip2 is the worst with 1 % and 600 bytes.
	slackShare, slackBytes = 64, 4 << 10
)

// frameSizeOf is the content of a frame of m where others have size. With 16 MiB, xz gave files up
// to 5 % larger than with a single stream, depending on what the cut parts; with 24, 0.3 %.
func frameSizeOf(m Method, size int) int {
	if m == Xz {
		return size + size/2
	}
	return size
}

// buffer holds one frame for its whole life: the content while it is filled and compressed, then
// the compressed bytes until they are written.
type buffer struct {
	mem   []byte // all of it; pages never used cost nothing
	n     int    // bytes filled
	size  int    // content that it may hold
	whole bool   // a frame buffer, not a start buffer
}

func newBuffer(size int, whole bool) *buffer {
	return &buffer{mem: allocate(withSlack(size)), size: size, whole: whole}
}

func withSlack(size int) int { return size + size/slackShare + slackBytes }

// fill appends as much of p as fits and returns how much that was.
func (b *buffer) fill(p []byte) int {
	n := copy(b.mem[b.n:b.size], p)
	b.n += n
	return n
}

func (b *buffer) content() []byte { return b.mem[:b.n] }

// buffers hands out the memory of a pool.
//
// Start buffers are there for every stream that asks. Frame buffers are limited, and a frame
// buffer is always in one of three states: free; filling, held by a stream whose producer may
// never come back; or busy, on its way through a worker and out.
type buffers struct {
	startSize, frameSize int

	mu    sync.Mutex
	start []*buffer // free ones, the last used on top
	keep  int       // free start buffers beyond which they are given back to the system

	limit   int       // bytes of content of all frame buffers together
	used    int       // of it, in buffers that exist
	frames  []*buffer // free ones, all of frameSize
	busy    int       // how many are busy
	waiting []turn
}

// turn is a place in the queue for a frame buffer.
type turn struct {
	size int
	got  chan *buffer // has room for the answer
}

// getStart returns an empty start buffer. It never waits.
func (b *buffers) getStart() *buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.start); n > 0 {
		buf := b.start[n-1]
		b.start = b.start[:n-1]
		return buf
	}
	return newBuffer(b.startSize, false)
}

// getFrame returns an empty frame buffer of that size, in state filling. It waits only for busy
// buffers: if there is none, all are being filled by other streams, which may in turn be
// waiting for the caller; then the answer is nil and the caller has to do without.
func (b *buffers) getFrame(ctx context.Context, size int) (*buffer, error) {
	b.mu.Lock()
	if len(b.waiting) == 0 {
		if buf := b.take(size); buf != nil || b.busy == 0 {
			b.mu.Unlock()
			return buf, nil
		}
	}
	t := turn{size: size, got: make(chan *buffer, 1)}
	b.waiting = append(b.waiting, t)
	b.mu.Unlock()

	select {
	case buf := <-t.got:
		return buf, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.waiting {
		if other.got == t.got {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.serve() // whom a large request in front held up
			return nil, context.Cause(ctx)
		}
	}
	// Our turn came at the same moment.
	if buf := <-t.got; buf != nil {
		b.free(buf)
	}
	return nil, context.Cause(ctx)
}

// take returns a frame buffer if the limit allows for it, and nil otherwise.
func (b *buffers) take(size int) *buffer {
	if n := len(b.frames); n > 0 && size == b.frameSize {
		buf := b.frames[n-1]
		b.frames = b.frames[:n-1]
		return buf
	}
	for b.used+size > b.limit && len(b.frames) > 0 {
		last := len(b.frames) - 1
		release(b.frames[last].mem)
		b.frames = b.frames[:last]
		b.used -= b.frameSize
	}
	if b.used+size > b.limit {
		return nil
	}
	b.used += size
	return newBuffer(size, true)
}

// setBusy records that buf leaves the hands of its producer.
func (b *buffers) setBusy(buf *buffer) {
	if buf.whole {
		b.mu.Lock()
		b.busy++
		b.mu.Unlock()
	}
}

// put takes buf back.
func (b *buffers) put(buf *buffer, wasBusy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case buf.whole:
		if wasBusy {
			b.busy--
		}
		b.free(buf)
	case len(b.start) < b.keep:
		buf.n = 0
		b.start = append(b.start, buf)
	default:
		release(buf.mem)
	}
}

// free makes a frame buffer available. Only those of the common size are kept: the others belong to
// xz, where a second goes by between two of them.
func (b *buffers) free(buf *buffer) {
	if buf.size == b.frameSize {
		buf.n = 0
		b.frames = append(b.frames, buf)
	} else {
		b.used -= buf.size
		release(buf.mem)
	}
	b.serve()
}

// serve answers those who wait, the longest first, as far as it can. If nothing is busy any more,
// those left over wait for nothing and are told so: this is what keeps "it waits only for
// busy buffers" true.
func (b *buffers) serve() {
	for len(b.waiting) > 0 {
		buf := b.take(b.waiting[0].size)
		if buf == nil && b.busy > 0 {
			return
		}
		b.waiting[0].got <- buf
		b.waiting = b.waiting[1:]
	}
}

// releaseAll gives every free buffer back to the system.
func (b *buffers) releaseAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, buf := range append(b.start, b.frames...) {
		release(buf.mem)
	}
	b.start, b.frames = nil, nil
}

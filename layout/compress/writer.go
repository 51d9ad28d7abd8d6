package compress

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// writer is a stream that is cut into frames.
type writer struct {
	pool   *Pool
	spec   spec
	dst    io.Writer
	ctx    context.Context // ends with the caller's, the pool's, the first error, or Close
	cancel context.CancelCauseFunc
	unhook []func() bool // undo what newWriter attached to contexts

	mu     sync.Mutex // serialises Write, Close and abandon
	buf    *buffer    // the frame being filled, or nil
	closed bool
	err    error  // what Close reports, once closed
	frames frames // that were written; changed by deliver alone

	// Frames on their way, in order. Both are nil until there is a second frame; most streams
	// have one, which Close takes through by itself.
	order   chan *job
	flushed chan struct{} // closed when the last of them is out
}

// newWriter is called with the pool's lock held.
func (p *Pool) newWriter(ctx context.Context, dst io.Writer, s spec) *writer {
	w := &writer{pool: p, spec: s, dst: dst}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	p.streams.Add(1)
	w.unhook = []func() bool{
		context.AfterFunc(p.ctx, func() { w.cancel(errPoolClosed) }),
		context.AfterFunc(w.ctx, w.abandon),
	}
	return w
}

// Write fills frames and submits those that are full.
func (w *writer) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(p) > 0 {
		if err := w.room(); err != nil {
			return n, err
		}
		took := w.buf.fill(p)
		n, p = n+took, p[took:]
	}
	return n, nil
}

// room sees to it that there is a buffer with room in it.
func (w *writer) room() error {
	if w.closed {
		if w.err != nil {
			return w.err
		}
		return fmt.Errorf("write compressed stream: %w", os.ErrClosed)
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.buf == nil {
		w.buf = w.pool.memory.getStart()
	}
	if w.buf.n < w.buf.size {
		return nil
	}
	if !w.buf.whole {
		larger, err := w.pool.memory.getFrame(w.ctx, frameSizeOf(w.spec.method, w.pool.memory.frameSize))
		if err != nil {
			return err
		}
		if larger != nil {
			larger.fill(w.buf.content())
			w.pool.memory.put(w.buf, false)
			w.buf = larger
			return nil
		}
	}
	if err := w.submit(); err != nil {
		return err
	}
	w.buf = w.pool.memory.getStart()
	return nil
}

// submit sends the buffer on its way and starts what writes it.
func (w *writer) submit() error {
	if w.order == nil {
		w.order = make(chan *job, w.pool.workers)
		w.flushed = make(chan struct{})
		go w.flush(w.order, w.flushed)
	}
	j := w.newJob()
	select {
	case w.order <- j:
	case <-w.ctx.Done():
		w.pool.memory.put(j.buf, true)
		return context.Cause(w.ctx)
	}
	w.enqueue(j)
	return nil
}

// newJob takes the buffer out of the hands of the producer.
func (w *writer) newJob() *job {
	j := &job{ctx: w.ctx, spec: w.spec, buf: w.buf, content: w.buf.n, done: make(chan struct{})}
	w.buf = nil
	w.pool.memory.setBusy(j.buf)
	return j
}

// enqueue brings j to done, by way of a worker unless the stream ends first.
func (w *writer) enqueue(j *job) {
	select {
	case w.pool.jobs <- j:
	case <-w.ctx.Done():
		j.err = context.Cause(w.ctx)
		close(j.done)
	}
}

// flush writes the frames of a stream in order. The stream owns it: it ends when order is closed,
// which Close and abandon do.
func (w *writer) flush(order <-chan *job, flushed chan<- struct{}) {
	defer close(flushed)
	for j := range order {
		w.deliver(j)
	}
}

// deliver waits for j to be done, writes what came out of it, and frees its buffer. The first error
// ends the stream.
func (w *writer) deliver(j *job) {
	<-j.done
	err := j.err
	if err == nil && w.ctx.Err() == nil {
		var n int
		if n, err = w.dst.Write(j.out); err == nil && n < len(j.out) {
			err = io.ErrShortWrite
		}
		if err != nil {
			err = fmt.Errorf("write compressed stream: %w", err)
		}
	}
	if err == nil && w.spec.method.framed() {
		w.frames.add(Frame{Compressed: int64(len(j.out)), Content: int64(j.content)})
	}
	w.pool.memory.put(j.buf, true)
	if err != nil {
		w.cancel(err)
	}
}

// Frames returns what was written, once Close has waited for it.
func (w *writer) Frames() []Frame { return w.frames.list }

// Close submits the rest and waits until all is written.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		if w.flushed != nil {
			<-w.flushed
		}
		return w.err
	}
	if w.ctx.Err() == nil {
		switch {
		case w.order == nil:
			if w.buf == nil {
				w.buf = w.pool.memory.getStart()
			}
			j := w.newJob()
			w.enqueue(j)
			w.deliver(j)
		case w.buf != nil && w.buf.n > 0:
			_ = w.submit() // it fails only for the cause that end reports
		}
	}
	w.end()
	return w.err
}

// abandon frees what a cancelled stream holds.
func (w *writer) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.end()
	}
}

// end is the one way out: nothing of the stream is in use afterwards.
func (w *writer) end() {
	w.closed = true
	if w.order != nil {
		close(w.order)
		<-w.flushed
	}
	if w.buf != nil {
		w.pool.memory.put(w.buf, false)
		w.buf = nil
	}
	if w.ctx.Err() != nil {
		w.err = context.Cause(w.ctx)
	}
	for _, stop := range w.unhook {
		stop()
	}
	w.cancel(nil)
	w.pool.streams.Done()
}

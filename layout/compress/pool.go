package compress

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
)

// A Pool compresses any number of streams with a fixed number of workers, each of which has an
// encoder of its own that it keeps from frame to frame.
//
// # Memory
//
// A pool of W workers uses at most, in MiB,
//
//	16.25 (W+6)  frame buffers: each holds one frame from its first byte in to its last byte out
//	16.25 W      where workers put their output before it moves back into the frame's buffer
//	20    W      zstd encoders at the default level (23 at levels from 6, 54 from 10)
//	 1           for each open stream, while its frame is below 1 MiB
//
// which is 207 for 2 workers and 4 streams, and about 52 for each further worker; typical data touches
// a third of the output areas, which makes it 41 for each further worker. Nothing
// depends on the size of streams. All but the encoders lies outside the Go heap, is touched as
// needed and kept until Close. (With xz the third line is nothing, the second half as much again; a child
// process for each frame being compressed takes 95 at the default level, 280 at most.) A brotli
// stream is apart: its encoder takes 40 of the Go heap while the stream is open.
//
// # Waiting
//
// Streams cannot stop each other, whatever their producers do, as long as every stream's
// destination takes bytes without waiting for another stream of the pool:
//
//  1. A worker never waits. It takes a frame, compresses it, says so; so every submitted frame is
//     done after a while.
//  2. The goroutine that writes a stream's frames waits only for workers (1) and for its
//     destination.
//  3. A producer waits for room among its own stream's submitted frames (2), for a place in the
//     queue of the workers (1), and for a frame buffer. For that it waits only while one is busy,
//     that is submitted and not yet written, which ends (2). If none is busy, all are being
//     filled by others, and the producer goes on with what it has: it submits its 1 MiB as a
//     frame. The output is right but a few percent larger. W+6 streams or fewer never see this
//     (two thirds of it for xz, whose frames are larger).
type Pool struct {
	workers int
	jobs    chan *job
	memory  buffers

	ctx     context.Context // ends with Close
	close   context.CancelCauseFunc
	mu      sync.Mutex // guards streams.Add against Close
	streams sync.WaitGroup
	working sync.WaitGroup
}

var errPoolClosed = errors.New("compression pool is closed")

// NewPool starts a pool of that many workers; zero or less means one for each CPU that Go uses.
func NewPool(workers int) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return newPool(workers, startSize, frameSize)
}

func newPool(workers, startSize, frameSize int) *Pool {
	ctx, cancel := context.WithCancelCause(context.Background())
	frames := workers + 6
	p := &Pool{
		workers: workers,
		jobs:    make(chan *job, frames),
		memory:  buffers{startSize: startSize, frameSize: frameSize, limit: frames * frameSize, keep: frames},
		ctx:     ctx,
		close:   cancel,
	}
	for range workers {
		p.working.Go(p.work)
	}
	return p
}

// Close ends the streams that are still open with an error, waits until they have let go of
// their destinations, and frees everything. NewWriter fails from then on.
func (p *Pool) Close() {
	p.mu.Lock()
	already := p.ctx.Err() != nil
	p.close(errPoolClosed)
	p.mu.Unlock()
	if already {
		p.working.Wait()
		return
	}
	p.streams.Wait()
	close(p.jobs)
	p.working.Wait()
	p.memory.releaseAll()
}

// NewWriter returns a stream that compresses what is written to it into w, by method m at that
// level (0 is the default; see [Method.CheckLevel]).
//
// Close compresses the rest, waits until w has everything and reports the first error of the
// stream; without it w holds only a part. An empty stream is written as the format's empty
// file. An error of w ends the stream: it is what the next Write and Close report.
//
// To give up, cancel ctx. The stream then frees all that it holds, kills its children and writes
// no more, whether or not anyone calls Close; Close still waits for a Write of w in progress, and
// reports the cause. A stream that is neither closed nor cancelled keeps its buffers.
//
// w is used by one goroutine at a time, and, but for br and none, not the caller's: it takes one frame
// while the next are compressed and filled. It must not retain what it is given. The stream
// itself is for one goroutine.
func (p *Pool) NewWriter(ctx context.Context, w io.Writer, m Method, level int) (Stream, error) {
	if err := m.CheckLevel(level); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if level == 0 {
		t, _ := m.traits()
		level = t.byDefault
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, errPoolClosed
	}
	switch m {
	case None:
		return &plainWriter{ctx: ctx, w: w}, nil
	case Brotli:
		return newBrotliWriter(ctx, w, level), nil
	}
	return p.newWriter(ctx, w, newSpec(m, level)), nil
}

// job is one frame on its way through a worker.
type job struct {
	ctx  context.Context
	spec spec
	buf  *buffer // the worker's until done
	done chan struct{}

	content int // bytes, before they are compressed

	// Set when done. out lies in buf, unless it did not fit.
	out []byte
	err error
}

// work is a worker. It waits for nothing but jobs.
func (p *Pool) work() {
	area := allocate(withSlack(frameSizeOf(Xz, p.memory.frameSize)))
	defer release(area)
	var (
		enc encoder
		has spec // what enc is for
	)
	for j := range p.jobs {
		if j.ctx.Err() != nil {
			j.err = context.Cause(j.ctx)
		} else {
			if enc == nil || has != j.spec {
				enc, has = newEncoder(j.spec), j.spec
			}
			var out []byte
			if out, j.err = enc.encode(j.ctx, area[:0], j.buf.content()); j.err == nil {
				j.out = append(j.buf.mem[:0], out...)
			}
		}
		close(j.done)
	}
}

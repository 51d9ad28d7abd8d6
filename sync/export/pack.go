package export

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// Many paths share the cost of going to disk. Half a second bounds what a kill
// can undo, and what is left to bring to disk when all is packed.
const (
	batchPaths = 256
	batchTime  = 500 * time.Millisecond
	// window bounds the paths that wait, packed, for an earlier one.
	window = 1024
	// storers is how many NARs are on their way at once to a tree that is not on
	// this machine.
	storers = 8
)

// pack packs steps side by side, and publishes them in their order, so that
// the references of each are there before it (I3).
func (im *Run) pack(ctx context.Context, plan *Plan) error {
	steps := plan.Missing
	jobs := im.Jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0) + 1
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	packed := make([]chan *layout.Packed, len(steps))
	for i := range packed {
		packed[i] = make(chan *layout.Packed, 1)
	}
	slots := make(chan struct{}, window)
	wait := im.feed(ctx, fail, steps, jobs, slots, packed)

	b := &batch{im: im, seen: plan.seen}
	next := 0
	for next < len(steps) && ctx.Err() == nil {
		select {
		case p := <-packed[next]:
			<-slots
			b.add(steps[next], p)
			next++
			// Publish when it is worth it, or when there is nothing to wait for.
			if b.full() || next == len(steps) {
				if err := b.publish(ctx); err != nil {
					fail(err)
				}
			}
		case <-ctx.Done():
		}
	}
	wait()
	// After a failure or an interruption, what is ready in order is published
	// all the same: the next run need not do it again.
	for ; next < len(steps) && len(packed[next]) > 0; next++ {
		b.add(steps[next], <-packed[next])
	}
	if ctx.Err() != nil && b.failed == nil {
		b.publish(context.WithoutCancel(ctx))
	}
	b.discard()
	for ; next < len(steps); next++ {
		if len(packed[next]) > 0 {
			(<-packed[next]).Discard()
		}
	}
	return context.Cause(ctx)
}

// feed begins to pack steps, each into its channel, and to send those that go
// elsewhere. The slots bound those that nothing was taken of. It returns what waits
// for all that was begun.
func (im *Run) feed(ctx context.Context, fail func(error), steps []Step, jobs int, slots chan<- struct{}, packed []chan *layout.Packed) (wait func()) {
	// A directory takes a NAR by renaming it, many at once; elsewhere it has to be
	// sent, while the next are packed.
	here := layout.TraitsOf(im.Writer.Tree).Local
	var sending errgroup.Group
	sending.SetLimit(storers)
	var packers errgroup.Group // the first member feeds the others
	packers.SetLimit(jobs + 1)
	packers.Go(func() error {
		for i, step := range steps {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			packers.Go(func() error {
				p, err := im.packOne(ctx, step)
				if err != nil {
					fail(fmt.Errorf("%s: %w", step.Info.Path.Abs(im.Writer.StoreDir), err))
					return nil
				}
				if here {
					packed[i] <- p
					return nil
				}
				sending.Go(func() error {
					if err := im.Writer.Store(ctx, p, step.Mend || im.Force); err != nil {
						p.Discard()
						fail(err)
						return nil
					}
					packed[i] <- p
					return nil
				})
				return nil
			})
		}
		return nil
	})
	return func() {
		packers.Wait()
		sending.Wait()
	}
}

// packOne takes one NAR through the Writer.
func (im *Run) packOne(ctx context.Context, step Step) (*layout.Packed, error) {
	if im.Working != nil {
		im.Working(step.Info.Path)
	}
	p, err := im.packBytes(ctx, step)
	if err != nil {
		return nil, err
	}
	if !im.vouched(&step.Info) && !p.Proved {
		p.Discard()
		return nil, &UntrustedError{Path: step.Info.Path, Sigs: signers(step.Info.Sigs), CA: step.Info.CA != ""}
	}
	if p.Depth > nar.CommonDepth {
		im.Progress.Deep.Add(1)
	}
	return p, nil
}

func (im *Run) packBytes(ctx context.Context, step Step) (*layout.Packed, error) {
	files, ok := im.Source.(FileSource)
	if !ok {
		return im.Writer.Pack(ctx, &step.Info, func(w io.Writer) error {
			return im.Source.WriteNAR(ctx, step.Info.Path, layout.CountWriter(w, &im.Progress.BytesDone))
		})
	}
	body, n, err := files.File(ctx, step.Info.Path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if n.Compression.Writable() && (!im.Recompress || n.Compression == im.Writer.Method) {
		// The progress counts NARs: their bytes count when they are all there.
		p, err := im.Writer.Keep(ctx, &step.Info, n.Compression, body)
		if err == nil {
			im.Progress.BytesDone.Add(p.NarSize)
		}
		return p, err
	}
	content, err := compress.NewReader(body, n.Compression)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return im.Writer.Pack(ctx, &step.Info, func(w io.Writer) error {
		// Without the wrappers the copy would be done by methods that ignore the
		// buffer.
		_, err := io.CopyBuffer(layout.CountWriter(w, &im.Progress.BytesDone), struct{ io.Reader }{content}, make([]byte, 256<<10))
		return err
	})
}

// A batch is a run of packed paths, to be published together.
type batch struct {
	im     *Run
	seen   layout.Sight
	items  []layout.Item
	last   time.Time
	failed error
}

func (b *batch) add(step Step, p *layout.Packed) {
	if len(b.items) == 0 && b.last.IsZero() {
		b.last = time.Now()
	}
	b.items = append(b.items, layout.Item{Info: step.Info, Packed: p, Replace: step.Mend || b.im.Force, Seen: b.seen})
}

func (b *batch) full() bool {
	return len(b.items) >= batchPaths || time.Since(b.last) >= batchTime
}

func (b *batch) publish(ctx context.Context) error {
	if len(b.items) == 0 {
		return nil
	}
	if err := b.im.Writer.Add(ctx, b.items); err != nil {
		b.failed = err
		return err
	}
	for _, item := range b.items {
		b.im.Progress.PathsDone.Add(1)
		b.im.Progress.Stored.Add(item.Packed.FileSize)
	}
	b.items, b.last = nil, time.Now()
	return nil
}

func (b *batch) discard() {
	for _, item := range b.items {
		item.Packed.Discard()
	}
}

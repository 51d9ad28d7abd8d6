package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

const (
	// Small objects go in batches where that is cheaper: as many as a Dir brings
	// to disk in a moment, and an object store takes in a few round trips.
	chunkObjects = 64
	chunkBytes   = 1 << 20
	// chunksAtOnce keeps the source busy while the destination stores a batch.
	chunksAtOnce = 4
)

// A task is an object to copy.
type task struct {
	Change
	record *layout.NarInfo // of a NAR: says what it is to be; nil: its name does
	// text is what to put, for an object that was read already; nil: read it.
	text func(context.Context) ([]byte, error)
	done func()      // it is there; nil for nothing to do
	left func(error) // it was left out, fs.ErrNotExist if the source has it no more
}

// copyTasks copies objects side by side, in no order. An object that is
// wrong in the source does not keep the others back. An error of the destination
// ends the run.
func (p *pass) copyTasks(ctx context.Context, tasks iter.Seq2[task, error]) error {
	objects, atOnce := 1, p.run.jobs
	if layout.TraitsOf(p.run.mirror.Dest).Batches {
		objects, atOnce = chunkObjects, min(chunksAtOnce, p.run.jobs)
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	slots := make(chan struct{}, p.run.jobs)
	var chunk []task
	var bytes int64
	flush := func() {
		if ready := chunk; len(ready) > 0 {
			group.Go(func() error { return p.copyChunk(inGroup, slots, ready) })
		}
		chunk, bytes = nil, 0
	}
	var listing error
	for t, err := range tasks {
		if err != nil || inGroup.Err() != nil {
			listing = err
			break
		}
		if bytes += max(0, t.Size); bytes > chunkBytes {
			flush()
			bytes = max(0, t.Size)
		}
		if chunk = append(chunk, t); len(chunk) >= objects {
			flush()
		}
	}
	flush()
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return listing
}

// copyChunk reads and checks some objects and puts them together.
func (p *pass) copyChunk(ctx context.Context, slots chan struct{}, tasks []task) error {
	bodies := make([]fetched, len(tasks))
	errs := make([]error, len(tasks))
	defer func() {
		for _, b := range bodies {
			b.release()
		}
	}()
	var group errgroup.Group
	for i, t := range tasks {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			group.Wait()
			return context.Cause(ctx)
		}
		group.Go(func() error {
			defer func() { <-slots }()
			bodies[i], errs[i] = p.fetch(ctx, t)
			return nil
		})
	}
	group.Wait()
	var objects []layout.Object
	for i, t := range tasks {
		if errs[i] == nil {
			ifAbsent := t.Action == ActionCopy && t.Key.Immutable()
			objects = append(objects, layout.Object{Key: t.Key, Body: bodies[i].body, Opts: layout.PutOptions{IfAbsent: ifAbsent}})
		} else if err := p.leave(ctx, t, errs[i]); err != nil {
			return err
		}
	}
	if len(objects) == 0 {
		return nil
	}
	// Taken keys are those of NARs, which have their names because they have
	// these bytes (I4).
	if err := p.put(ctx, objects); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("destination: %w", err)
	}
	for i, t := range tasks {
		if errs[i] != nil {
			continue
		}
		p.run.progress.ObjectsDone.Add(1)
		p.run.report.event(Event{Action: t.Action, Key: t.Key, Size: bodies[i].body.Size()})
		if t.done != nil {
			t.done()
		}
	}
	return nil
}

// leave leaves an object out, or returns the error that ends the run.
func (p *pass) leave(ctx context.Context, t task, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.left != nil {
		t.left(err)
	}
	var spool *refgraph.SpoolError
	var wrong *contentError
	switch {
	case errors.As(err, &spool), errors.As(err, new(*destError)):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return nil // withdrawn since it was listed
	case errors.As(err, new(*needless)):
		p.run.progress.Objects.Add(-1)
		p.run.report.note(fmt.Sprintf("%s is left out: %v", t.Key, err))
		return nil
	case errors.As(err, new(*unproved)):
		return nil // a record may prove it yet
	case errors.As(err, &wrong), errors.As(err, new(*notYet)):
	case p.run.problems.tooMany():
		return fmt.Errorf("source: %w", err)
	}
	p.withhold(t.Key, err)
	return nil
}

// largeFirst is the size in bytes of NARs that go before the others: begun last,
// one of them would be under way alone in the end.
const largeFirst = 8 << 20

// copyNARs copies the NARs that are missing or damaged.
func (p *pass) copyNARs(ctx context.Context) error {
	p.fate.nars = make([]narFate, p.todo.nars.Len())
	return p.copyTasks(ctx, func(yield func(task, error) bool) {
		for _, large := range []bool{true, false} {
			for record, err := range p.todo.nars.All() {
				if err != nil {
					yield(task{}, err)
					return
				}
				c := unpackNARCopy(record)
				if c.size >= largeFirst != large {
					continue
				}
				if _, named := c.key.NameHash(); !named {
					p.fate.nars[record.Number] = narUnproved
				} else if !yield(p.narTask(c, record.Number), nil) {
					return
				}
			}
		}
	})
}

func (p *pass) narTask(c narCopy, i int) task {
	return task{
		Change: Change{action(c.replace), c.key, c.size},
		done:   func() { p.fate.nars[i] = narThere },
		left: func(err error) {
			switch {
			case errors.As(err, new(*unproved)):
				p.fate.nars[i] = narUnproved
				p.cannotProve(i, err)
			case errors.As(err, new(*contentError)):
				p.fate.nars[i] = narBad
			}
		},
	}
}

// copyListings copies the listings. A missing listing does not keep its
// path back: only few clients read it.
func (p *pass) copyListings(ctx context.Context) error {
	return p.copyTasks(ctx, func(yield func(task, error) bool) {
		for record, err := range p.todo.listings.All() {
			l := unpackPathCopy(record.Bytes)
			t := task{Change: Change{action(l.replace), l.id.ListingKey(), 0}, left: func(err error) {
				p.fate.mu.Lock()
				defer p.fate.mu.Unlock()
				p.fate.unlisted[l.id] = err
			}}
			if !yield(t, err) {
				return
			}
		}
	})
}

func (p *pass) copyPages(ctx context.Context) error {
	err := p.copyTasks(ctx, func(yield func(task, error) bool) {
		for _, c := range p.todo.pages {
			if !yield(task{Change: c}, nil) {
				return
			}
		}
	})
	if errors.Is(err, layout.ErrAdminOnly) { // no path needs them
		p.run.report.note(fmt.Sprintf("the pages for browsers are left out: %v", err))
		return nil
	}
	return err
}

// copyPins copies the pins if no path was left out: a reader of a pin asks for all
// that it names.
func (p *pass) copyPins(ctx context.Context) error {
	if p.run.problems.err() != nil {
		return nil
	}
	return p.others(layout.KindPin)(ctx)
}

func (p *pass) copyCacheInfo(ctx context.Context) error {
	if p.todo.info == nil {
		return nil
	}
	return p.copyTasks(ctx, func(yield func(task, error) bool) { yield(task{Change: *p.todo.info}, nil) })
}

// others copies what the scan only counted, by listing its prefixes again.
func (p *pass) others(kind layout.Kind) func(context.Context) error {
	return func(ctx context.Context) error {
		if p.todo.others[kind] == 0 {
			return nil
		}
		return p.copyTasks(ctx, func(yield func(task, error) bool) {
			for d, err := range p.again(ctx, kind) {
				if err != nil {
					yield(task{}, err)
					return
				}
				if (d.verdict == absent || d.verdict == differ) && !yield(task{Change: d.change()}, nil) {
					return
				}
			}
		})
	}
}

// again compares the objects of one kind once more.
func (p *pass) again(ctx context.Context, kind layout.Kind) iter.Seq2[decision, error] {
	return func(yield func(decision, error) bool) {
		for _, prefix := range kind.Folders() {
			for d, err := range p.run.judged(ctx, p.run.pairs(ctx, prefix), openLedger("")) {
				if (err != nil || d.key.Kind() == kind) && !yield(d, err) {
					return
				}
			}
			if p.run.keys != nil {
				return // they have no prefixes
			}
		}
	}
}

func action(replace bool) Action {
	if replace {
		return ActionReplace
	}
	return ActionCopy
}

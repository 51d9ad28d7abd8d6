package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// maxTexts bounds the narinfos that are kept between being looked at and being
// put, in bytes of temporary files. Those beyond are read twice.
const maxTexts = 256 << 20

// copyPaths publishes the narinfos that are new or changed, references first.
// First it reads them all, to know the order; only what has its NAR and its
// references takes part (I2, I3).
func (p *pass) copyPaths(ctx context.Context) error {
	if err := p.readPaths(ctx); err != nil {
		return err
	}
	levels, err := p.fate.graph.Arrange(p.withholdDependant)
	if err != nil {
		return err
	}
	for _, nodes := range levels {
		err := p.copyTasks(ctx, func(yield func(task, error) bool) {
			for _, i := range nodes {
				if !yield(p.pathTask(i)) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withholdDependant leaves out a narinfo because of another one that it refers to.
func (p *pass) withholdDependant(node, because int32) {
	err := fmt.Errorf("it refers to %s, which was left out", p.newPath(because).Hash())
	if p.fate.graph.StateOf(because) == refgraph.Gone {
		err = notYetf("it refers to %s, which was withdrawn meanwhile", p.newPath(because).Hash())
	}
	p.withhold(p.newPath(node).NarInfoKey(), err)
}

// newPath names a path for a message.
func (p *pass) newPath(i int32) refgraph.PathID {
	var record [pathCopyBytes]byte
	p.todo.paths.At(int(i), record[:]) // the next read of the shelf will tell
	return unpackPathCopy(record[:]).id
}

func outState(err error) refgraph.State {
	if errors.Is(err, fs.ErrNotExist) {
		return refgraph.Gone
	}
	return refgraph.Out
}

// A readNarInfo is the text of a narinfo, and which of the new ones it refers to.
type readNarInfo struct {
	text []byte
	refs []int32
	err  error // it is to be left out
}

// readPaths reads the narinfos and fills the graph.
func (p *pass) readPaths(ctx context.Context) error {
	p.fate.graph = refgraph.NewGraph(p.todo.paths.Len(), p.run.mirror.TempDir)
	// Some at a time: to hand one from worker to worker costs more than to look
	// at it.
	const stride = 16
	batches := func(yield func([]pathCopy, error) bool) {
		batch := make([]pathCopy, 0, stride)
		for record, err := range p.todo.paths.All() {
			batch = append(batch, unpackPathCopy(record.Bytes))
			if err != nil || len(batch) == stride {
				if !yield(batch, err) {
					return
				}
				batch = make([]pathCopy, 0, stride)
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
	read := parallel.InOrder(ctx, p.run.jobs, batches, nil,
		func(ctx context.Context, batch []pathCopy) ([]readNarInfo, error) {
			all := make([]readNarInfo, len(batch))
			for i, c := range batch {
				var err error
				if all[i].text, all[i].refs, err = p.readPath(ctx, c); err != nil {
					t := task{Change: Change{Key: c.id.NarInfoKey()}}
					if err := p.leave(ctx, t, err); err != nil {
						return nil, err
					}
					all[i] = readNarInfo{err: err}
				}
			}
			return all, nil
		})
	for batch, err := range read {
		if err != nil {
			return err
		}
		for _, n := range batch {
			switch {
			case n.err != nil:
				p.fate.graph.Add(outState(n.err), nil, nil)
			case p.fate.graph.KeptBytes()+int64(len(n.text)) > maxTexts:
				p.fate.graph.Add(refgraph.Ready, n.refs, nil)
			default:
				p.fate.graph.Add(refgraph.Ready, n.refs, n.text)
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.fate.graph.Seal()
}

// readPath reads a narinfo and finds out whether the destination has, or will
// have, what it leads to.
func (p *pass) readPath(ctx context.Context, c pathCopy) (text []byte, refs []int32, err error) {
	key := c.id.NarInfoKey()
	f, err := p.fetch(ctx, task{Change: Change{Key: key}})
	if err != nil {
		return nil, nil, err
	}
	defer f.release()
	text = make([]byte, f.body.Size())
	if _, err := f.body.ReadAt(text, 0); err != nil && len(text) > 0 {
		return nil, nil, err
	}
	n, err := layout.ParseNarInfo(text, p.run.storeDir)
	if err != nil {
		return nil, nil, &contentError{err}
	}
	if layout.NarInfoKey(n.Path) != key {
		return nil, nil, &contentError{fmt.Errorf("it is the narinfo of %s", n.Path)}
	}
	nars, err := n.NARKeys()
	if err != nil {
		return nil, nil, &contentError{err}
	}
	if err := p.needNAR(ctx, key, nars, n); err != nil {
		return nil, nil, err
	}
	if err := p.needListing(ctx, c); err != nil {
		return nil, nil, err
	}
	refs, err = p.needReferences(ctx, key, n)
	return text, refs, err
}

// needListing sees to it that a path whose listing the source has does not
// appear without it.
func (p *pass) needListing(ctx context.Context, c pathCopy) error {
	key := c.id.ListingKey()
	if !p.run.mirror.wants(key) {
		return nil
	}
	if c.listed {
		p.fate.mu.Lock()
		defer p.fate.mu.Unlock()
		// A listing that makes no sense keeps no path back.
		if err := p.fate.unlisted[c.id]; err != nil && !errors.As(err, new(*contentError)) {
			return notYetf("its listing could not be mirrored: %w", err)
		}
		return nil
	}
	_, there, err := layout.Lookup(ctx, p.run.mirror.Source, key)
	if err != nil || !there {
		return err
	}
	if p.run.keys != nil {
		if there, err = p.found(ctx, key); err != nil || there {
			return err
		}
	}
	return notYetf("its listing is not at the destination yet")
}

// needReferences returns those references that are to be published first. The
// others are at the destination.
func (p *pass) needReferences(ctx context.Context, key layout.Key, n *layout.NarInfo) (refs []int32, err error) {
	for _, ref := range n.References {
		if ref == n.Path {
			continue
		}
		id := refgraph.PackPath(ref.Hash())
		if i, err := p.there.paths.Find(id[:]); err != nil {
			return nil, err
		} else if i >= 0 {
			continue
		}
		if i, err := p.todo.paths.Find(id[:]); err != nil {
			return nil, err
		} else if i >= 0 {
			if refs == nil {
				refs = make([]int32, 0, len(n.References))
			}
			refs = append(refs, int32(i))
			continue
		}
		if p.run.keys != nil {
			if there, err := p.found(ctx, layout.NarInfoKey(ref)); err != nil {
				return nil, err
			} else if there {
				continue
			}
		}
		if provided, err := p.provided(ctx, ref); err != nil {
			return nil, err
		} else if provided {
			continue
		}
		if err := p.missing(ctx, key, []layout.Key{layout.NarInfoKey(ref)}, "it refers to "+string(ref)); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// pathTask puts a narinfo whose references are of lower levels. A
// reference may have been left out since the levels were found.
func (p *pass) pathTask(i int32) (task, error) {
	var record [pathCopyBytes]byte
	if err := p.todo.paths.At(int(i), record[:]); err != nil {
		return task{}, err
	}
	c := unpackPathCopy(record[:])
	return task{
		Change: Change{Action: action(c.replace), Key: c.id.NarInfoKey()},
		text: func(ctx context.Context) ([]byte, error) {
			refs, text, err := p.fate.graph.Recall(i)
			if err == nil && text == nil {
				text, refs, err = p.readPath(ctx, c)
				p.run.progress.BytesDone.Add(-int64(len(text))) // counted before
			}
			if err != nil {
				return nil, err
			}
			if ref := p.fate.graph.Unpublished(refs); ref >= 0 {
				return nil, fmt.Errorf("it refers to %s: %w", p.newPath(ref).Hash(), errLeftOut)
			}
			return text, nil
		},
		done: func() { p.fate.graph.SetState(i, refgraph.Published) },
		left: func(err error) { p.fate.graph.SetState(i, outState(err)) },
	}, nil
}

// errLeftOut says that an object leans on another that was left out.
var errLeftOut = &contentError{errors.New("it was left out")}

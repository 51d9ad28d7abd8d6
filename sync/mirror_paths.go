package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// maxTexts bounds the narinfos that are kept between being looked at and being
// put, in bytes. Those beyond are read twice.
const maxTexts = 16 << 20

// texts are the narinfos that are kept.
type texts struct {
	mu   sync.Mutex
	byID map[int32][]byte
	size int
}

func (t *texts) keep(i int32, text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size+len(text) <= maxTexts {
		t.size += len(text)
		t.byID[i] = text
	}
}

func (t *texts) take(i int32) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.byID[i]
	delete(t.byID, i)
	t.size -= len(text)
	return text
}

// copyPaths publishes the narinfos that are new or changed, references first.
// First it reads them all, to know the order; only what has its NAR and its
// references takes part (I2, I3).
func (p *pass) copyPaths(ctx context.Context) error {
	p.graph = newGraph(len(p.newPaths))
	kept := &texts{byID: map[int32][]byte{}}
	if err := p.readPaths(ctx, kept); err != nil {
		return err
	}
	levels := p.graph.arrange(func(node, because int32) {
		p.leanOut(node, because)
	})
	for _, nodes := range levels {
		err := p.copyTasks(ctx, func(yield func(task, error) bool) {
			for _, i := range nodes {
				if !yield(p.pathTask(i, kept), nil) {
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

// leanOut leaves out a narinfo because of another one that it refers to.
func (p *pass) leanOut(node, because int32) {
	err := fmt.Errorf("it refers to %s, which was left out", p.newPaths[because].id.hash())
	if p.graph.state[because].Load() == nodeGone {
		err = notYetf("it refers to %s, which was withdrawn meanwhile", p.newPaths[because].id.hash())
	}
	p.withhold(p.newPaths[node].id.narInfo(), err)
}

func outState(err error) nodeState {
	if errors.Is(err, fs.ErrNotExist) {
		return nodeGone
	}
	return nodeOut
}

// readPaths reads the narinfos and fills the graph.
func (p *pass) readPaths(ctx context.Context, kept *texts) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(p.jobs)
	const stride = 16
	for first := 0; first < len(p.newPaths) && inGroup.Err() == nil; first += stride {
		group.Go(func() error {
			for i := first; i < min(first+stride, len(p.newPaths)); i++ {
				text, err := p.readPath(inGroup, int32(i))
				if err == nil {
					p.graph.state[i].Store(nodeReady)
					kept.keep(int32(i), text)
					continue
				}
				p.graph.state[i].Store(outState(err))
				t := task{Change: Change{Key: p.newPaths[i].id.narInfo()}}
				if err := p.leave(inGroup, t, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// readPath reads a narinfo and finds out whether the destination has, or will
// have, what it leads to.
func (p *pass) readPath(ctx context.Context, i int32) ([]byte, error) {
	c := p.newPaths[i]
	key := c.id.narInfo()
	f, err := p.fetch(ctx, task{Change: Change{Key: key}})
	if err != nil {
		return nil, err
	}
	defer f.release()
	text := make([]byte, f.body.Size())
	if _, err := f.body.ReadAt(text, 0); err != nil && len(text) > 0 {
		return nil, err
	}
	n, err := layout.ParseNarInfo(text, p.storeDir)
	if err != nil {
		return nil, &contentError{err}
	}
	if layout.NarInfoKey(n.Path) != key {
		return nil, &contentError{fmt.Errorf("it is the record of %s", n.Path)}
	}
	nar, err := n.NARKey()
	if err != nil {
		return nil, &contentError{err}
	}
	if err := p.needNAR(ctx, key, nar); err != nil {
		return nil, err
	}
	if err := p.needListing(ctx, c); err != nil {
		return nil, err
	}
	p.graph.refs[i], err = p.needReferences(ctx, key, n)
	return text, err
}

// needListing sees to it that a path whose listing the source has does not
// appear without it.
func (p *pass) needListing(ctx context.Context, c pathCopy) error {
	key := c.id.listing()
	if !p.wants(key) {
		return nil
	}
	if c.listed {
		p.mu.Lock()
		defer p.mu.Unlock()
		// A listing that makes no sense keeps no path back.
		if err := p.unlisted[c.id]; err != nil && !errors.As(err, new(*contentError)) {
			return notYetf("its listing could not be mirrored: %w", err)
		}
		return nil
	}
	_, there, err := have(ctx, p.Source, key)
	if err != nil || !there {
		return err
	}
	if p.keys != nil {
		if _, there, err = have(ctx, p.Dest, key); err != nil || there {
			return err
		}
	}
	return notYetf("its listing is not at the destination yet")
}

// needReferences returns those references that are to be published first. The
// others are at the destination.
func (p *pass) needReferences(ctx context.Context, key layout.Key, n *layout.NarInfo) (refs []int32, err error) {
	for _, ref := range n.References {
		id := packPath(ref.Hash())
		if ref == n.Path || findPath(p.paths, id) >= 0 {
			continue
		}
		if i, ok := findCopy(p.newPaths, id); ok {
			if refs == nil {
				refs = make([]int32, 0, len(n.References))
			}
			refs = append(refs, int32(i))
			continue
		}
		if p.keys != nil {
			if _, there, err := have(ctx, p.Dest, layout.NarInfoKey(ref)); err != nil {
				return nil, err
			} else if there {
				continue
			}
		}
		if p.Provided != nil && p.Provided(ref) {
			continue
		}
		if err := p.missing(ctx, key, layout.NarInfoKey(ref), "it refers to "+string(ref)); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// findCopy returns where id is in sorted copies.
func findCopy(copies []pathCopy, id pathID) (int, bool) {
	return slices.BinarySearchFunc(copies, id, func(c pathCopy, id pathID) int { return bytes.Compare(c.id[:], id[:]) })
}

// pathTask puts a narinfo whose references are of lower levels. One of them may
// have been left out since the levels were found.
func (p *pass) pathTask(i int32, kept *texts) task {
	c := p.newPaths[i]
	return task{
		Change: Change{Action: action(c.replace), Key: c.id.narInfo()},
		text: func(ctx context.Context) ([]byte, error) {
			text := kept.take(i)
			if text == nil {
				var err error
				if text, err = p.readPath(ctx, i); err != nil {
					return nil, err
				}
				p.progress.BytesDone.Add(-int64(len(text))) // counted before
			}
			if ref := p.graph.leansOn(i); ref >= 0 {
				return nil, fmt.Errorf("it refers to %s: %w", p.newPaths[ref].id.hash(), errLeftOut)
			}
			return text, nil
		},
		done: func() { p.graph.state[i].Store(nodePublished) },
		left: func(err error) { p.graph.state[i].Store(outState(err)) },
	}
}

// errLeftOut says that an object leans on another that was left out.
var errLeftOut = &contentError{errors.New("it was left out")}

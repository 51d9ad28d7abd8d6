package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A Withdrawal removes objects from a tree, but for those that a narinfo which
// stays leads to. Decide comes first where there are Paths or NARs. The caller
// holds the lock of the tree.
type Withdrawal struct {
	Tree    layout.Tree
	Jobs    int    // requests at once
	TempDir string // for the references of the candidates; "" is the system's

	// Paths (PathIDs) and NARs are what may go, in the order of their keys.
	Paths *refgraph.Shelf
	NARs  *refgraph.NARShelf

	StoreDir string // of the tree; "" for any

	// Back reports whether an object is wanted after all. It is asked right before
	// each deletion.
	Back func(context.Context, layout.Key) (bool, error)
	// Deleted and Kept are told of each candidate, from several goroutines.
	Deleted func(layout.Key)
	Kept    func(key layout.Key, why string)

	graph *refgraph.Graph // of Paths
	nars  [][]int32       // of each of Paths: those of NARs that it may lead to

	mu        sync.Mutex
	keptPaths map[int32]string // in Paths: why
	keptNARs  map[int32]string // in NARs: why
}

// ErrBack ends a Withdrawal: a narinfo is wanted again that was about to go, with
// all that it needs. Nothing that stays leads to what went so far.
var ErrBack = errors.New("the source has a path again that was being removed: the rest is left to the next run")

// A Staying is a narinfo that stays in the tree.
type Staying struct {
	ID refgraph.PathID
	// From has an equal narinfo that is cheaper to read; nil: the tree's is read.
	From layout.Reader
}

// Decide finds out which candidates have to stay, from the narinfos that stay.
func (w *Withdrawal) Decide(ctx context.Context, staying iter.Seq2[Staying, error]) error {
	w.keptPaths, w.keptNARs = map[int32]string{}, map[int32]string{}
	if err := w.readCandidates(ctx); err != nil {
		return err
	}
	if err := parallel.Each(ctx, w.Jobs, staying, w.stays); err != nil {
		return err
	}
	if err := w.keepClosure(); err != nil {
		return err
	}
	for i, why := range w.keptPaths {
		id, err := refgraph.PathAt(w.Paths, int(i))
		if err != nil {
			return err
		}
		w.Kept(id.NarInfoKey(), why)
	}
	for i, why := range w.keptNARs {
		key, err := w.NARs.At(int(i))
		if err != nil {
			return err
		}
		w.Kept(key, why)
	}
	return nil
}

// Close gives back the room that Decide took.
func (w *Withdrawal) Close() { w.graph.Close() }

// keepClosure keeps what the kept candidates lead to, all the way down.
func (w *Withdrawal) keepClosure() error {
	var stack []int32
	for i := range w.keptPaths {
		stack = append(stack, i)
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		id, err := refgraph.PathAt(w.Paths, int(i))
		if err != nil {
			return err
		}
		because := id.Hash() + " stays"
		w.keepNARs(w.nars[i], because)
		refs, err := w.graph.Refs(i, nil)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if w.keepPath(ref, because) {
				stack = append(stack, ref)
			}
		}
	}
	return nil
}

// readCandidates notes what the candidates among the narinfos lead to.
func (w *Withdrawal) readCandidates(ctx context.Context) error {
	w.graph = refgraph.NewGraph(w.Paths.Len(), w.TempDir)
	w.nars = make([][]int32, 0, w.Paths.Len())
	type lead struct {
		nars []int32
		refs []int32
	}
	leads := parallel.InOrder(ctx, w.Jobs, refgraph.Numbered(w.Paths), nil,
		func(ctx context.Context, record refgraph.Record) (lead, error) {
			key := refgraph.PathID(record.Bytes).NarInfoKey()
			if back, err := w.Back(ctx, key); err != nil {
				return lead{}, err
			} else if back {
				w.keepPath(int32(record.Number), wantedAgain)
			}
			nars, refs, err := w.needs(ctx, w.Tree, key)
			if errors.Is(err, fs.ErrNotExist) {
				return lead{}, nil // another process removed it
			}
			return lead{nars, refs}, err
		})
	for lead, err := range leads {
		if err != nil {
			return err
		}
		w.nars = append(w.nars, lead.nars)
		w.graph.Add(refgraph.Ready, lead.refs, nil)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.graph.Seal()
}

const wantedAgain = "the source has it by now"

// stays keeps the candidates that a narinfo which stays leads to.
func (w *Withdrawal) stays(ctx context.Context, s Staying) error {
	key := s.ID.NarInfoKey()
	var nars, refs []int32
	err := fs.ErrNotExist
	if s.From != nil {
		nars, refs, err = w.needs(ctx, s.From, key)
	}
	if errors.Is(err, fs.ErrNotExist) { // in From: withdrawn a moment ago
		nars, refs, err = w.needs(ctx, w.Tree, key)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	because := s.ID.Hash() + " leads to it"
	w.keepNARs(nars, because)
	for _, ref := range refs {
		w.keepPath(ref, because)
	}
	return nil
}

// needs returns which candidates a narinfo leads to. A narinfo that cannot be
// understood leads nowhere, for a client neither.
func (w *Withdrawal) needs(ctx context.Context, t layout.Reader, key layout.Key) (nars, refs []int32, err error) {
	text, err := layout.ReadAll(ctx, t, key)
	if errors.Is(err, layout.ErrTooLarge) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find out what is still needed: %w", err)
	}
	n, err := layout.ParseNarInfo(text, w.StoreDir)
	if err != nil {
		return nil, nil, nil
	}
	keys, _ := n.NARKeys() // a name that belongs to another hash is led to all the same
	for _, key := range keys {
		i, err := w.NARs.Find(key)
		if err != nil {
			return nil, nil, err
		}
		if i >= 0 {
			nars = append(nars, int32(i))
		}
	}
	for _, ref := range n.References {
		id := refgraph.PackPath(ref.Hash())
		i, err := w.Paths.Find(id[:])
		if err != nil {
			return nil, nil, err
		}
		if i >= 0 && ref != n.Path {
			refs = append(refs, int32(i))
		}
	}
	return nars, refs, nil
}

func (w *Withdrawal) keepPath(i int32, why string) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.keptPaths[i]; known {
		return false
	}
	w.keptPaths[i] = why
	return true
}

func (w *Withdrawal) keepNARs(numbers []int32, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range numbers {
		w.keptNARs[i] = why
	}
}

// Keeps reports whether Decide kept one of Paths, by its number.
func (w *Withdrawal) Keeps(i int) bool {
	_, kept := w.keptPaths[int32(i)]
	return kept
}

package treetest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"syscall"

	"github.com/nixstatic/nixstatic/layout"
)

// An Op is an operation of a tree.
type Op string

// The operations.
const (
	OpGet    Op = "get"
	OpStat   Op = "stat"
	OpPut    Op = "put"
	OpDelete Op = "delete"
	OpList   Op = "list"
	OpFlush  Op = "flush"
	OpGate   Op = "gate"   // entered by a writer or a sweeper; it has no key
	OpProve  Op = "prove"  // what the store of a bucket does; it has no key
	OpAsk    Op = "ask"    // for many paths at once; it has no key
	OpCreate Op = "create" // of a file of the spool; this and the next two have no key
	OpWrite  Op = "write"  // the first to such a file
	OpDone   Op = "done"   // with such a file
)

// A Fault says which operations fail and how. The zero value fails none.
type Fault struct {
	// At is the operation that fails, counted from 1 among those that Only lets
	// through. 0 fails none.
	At int
	// Only says which operations count; nil counts all.
	Only func(Op, layout.Key) bool
	// Done says that the operation happens and only its answer is lost. Half the
	// bytes of a Get arrive, half the objects of a List, and half the bytes of a
	// Write are written.
	Done bool
	// Down says that every later operation fails too and does not happen: the
	// process died there, or the network.
	Down bool
	// Err is what fails with; nil is EIO.
	Err error
}

// A Faulty is a tree that fails on purpose. It can do all that the tree below can
// do, and fails there as well. Each object of a batch is one operation; those that
// fail are not put or removed, the others of their group are, and no later group is.
type Faulty struct {
	Tree  layout.Tree
	Fault Fault

	mu  sync.Mutex
	ops int
}

// Ops returns how many operations counted so far.
func (f *Faulty) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// turn says whether the operation is to happen, and the error it is to have.
func (f *Faulty) turn(op Op, key layout.Key) (happens bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Fault.Only != nil && !f.Fault.Only(op, key) {
		return true, nil
	}
	f.ops++
	switch {
	case f.Fault.At == 0 || f.ops < f.Fault.At:
		return true, nil
	case f.ops == f.Fault.At:
		happens = f.Fault.Done
	case !f.Fault.Down:
		return true, nil
	}
	err = f.Fault.Err
	if err == nil {
		err = syscall.EIO
	}
	return happens, fmt.Errorf("%s %s: planned fault: %w", op, key, err)
}

// Get opens an object.
func (f *Faulty) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	happens, fault := f.turn(OpGet, key)
	if !happens {
		return nil, layout.Info{}, fault
	}
	body, info, err := f.Tree.Get(ctx, key)
	switch {
	case fault == nil:
		return body, info, err
	case err != nil:
		return nil, layout.Info{}, fault
	}
	return breakOff(body, info.Size/2, fault), info, nil
}

// Stat describes an object.
func (f *Faulty) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if _, fault := f.turn(OpStat, key); fault != nil {
		return layout.Info{}, fault
	}
	return f.Tree.Stat(ctx, key)
}

// Put stores an object.
func (f *Faulty) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	return f.try(OpPut, key, func() error { return f.Tree.Put(ctx, key, ownBody(body), opts) })
}

// Delete removes an object.
func (f *Faulty) Delete(ctx context.Context, key layout.Key) error {
	return f.try(OpDelete, key, func() error { return f.Tree.Delete(ctx, key) })
}

// try has an operation happen or not, and fail or not.
func (f *Faulty) try(op Op, key layout.Key, do func() error) error {
	happens, fault := f.turn(op, key)
	if happens {
		if err := do(); fault == nil {
			return err
		}
	}
	return fault
}

// List yields objects. It counts as one operation, of the empty key.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return faultyList(f, f.Tree.List(ctx, prefix))
}

func faultyList[T any](f *Faulty, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		happens, fault := f.turn(OpList, "")
		if fault == nil {
			list(yield)
			return
		}
		if happens {
			var found []T
			for item, err := range list {
				if err != nil {
					yield(none, err)
					return
				}
				found = append(found, item)
			}
			for _, item := range found[:len(found)/2] {
				if !yield(item, nil) {
					return
				}
			}
		}
		yield(none, fault)
	}
}

func breakOff(body io.ReadCloser, after int64, err error) io.ReadCloser {
	return &broken{Reader: io.LimitReader(body, after), Closer: body, err: err}
}

// broken is a body that breaks off where its reader ends.
type broken struct {
	io.Reader
	io.Closer
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

var _ layout.Tree = (*Faulty)(nil)

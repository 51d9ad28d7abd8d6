package treetest

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// Below returns the tree below: an ability that it lacks is none of this one either.
func (f *Faulty) Below() layout.Reader { return f.Tree }

// Traits are those of the tree below.
func (f *Faulty) Traits() layout.Traits { return layout.TraitsOf(f.Tree) }

// ListTop counts as one List.
func (f *Faulty) ListTop(ctx context.Context) iter.Seq2[layout.TopEntry, error] {
	return faultyList(f, layout.ListTop(ctx, f.Tree))
}

// ListNames counts as one List.
func (f *Faulty) ListNames(ctx context.Context, prefix string, named func(layout.Key) bool) iter.Seq2[layout.Info, error] {
	return faultyList(f, layout.ListNames(ctx, f.Tree, prefix, named))
}

// NarInfoKeys counts as one List.
func (f *Faulty) NarInfoKeys(ctx context.Context) iter.Seq2[layout.Key, error] {
	return faultyList(f, layout.NarInfoKeys(ctx, f.Tree))
}

// Leftovers counts as one List.
func (f *Faulty) Leftovers(ctx context.Context, before time.Time) iter.Seq2[layout.Leftover, error] {
	return faultyList(f, layout.Leftovers(ctx, f.Tree, before))
}

// RemoveLeftover counts as a Delete.
func (f *Faulty) RemoveLeftover(ctx context.Context, l layout.Leftover) error {
	return f.try(OpDelete, l.Key, func() error { return layout.RemoveLeftover(ctx, f.Tree, l) })
}

// OpenRange counts as a Get.
func (f *Faulty) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	return f.open(version.Key, to-from, func() (io.ReadCloser, error) { return layout.OpenRange(ctx, f.Tree, version, from, to) })
}

// OpenURL counts as a Get of the URL.
func (f *Faulty) OpenURL(ctx context.Context, ref string) (body io.ReadCloser, info layout.Info, err error) {
	happens, fault := f.turn(OpGet, layout.Key(ref))
	if !happens {
		return nil, layout.Info{}, fault
	}
	body, info, err = layout.OpenURL(ctx, f.Tree, ref)
	switch {
	case fault == nil:
		return body, info, err
	case err != nil:
		return nil, layout.Info{}, fault
	}
	return breakOff(body, info.Size/2, fault), info, nil
}

// OpenURLRange counts as a Get of the URL.
func (f *Faulty) OpenURLRange(ctx context.Context, ref string, size, from, to int64) (io.ReadCloser, error) {
	return f.open(layout.Key(ref), to-from, func() (io.ReadCloser, error) {
		urls, _ := layout.Ability[layout.URLReader](f.Tree)
		return urls.OpenURLRange(ctx, ref, size, from, to)
	})
}

func (f *Faulty) open(key layout.Key, size int64, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	happens, fault := f.turn(OpGet, key)
	if !happens {
		return nil, fault
	}
	body, err := open()
	switch {
	case fault == nil:
		return body, err
	case err != nil:
		return nil, fault
	}
	return breakOff(body, size/2, fault), nil
}

// PutBatch counts each object as a Put.
func (f *Faulty) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	happening, fault := turns(f, OpPut, groups, func(o layout.Object) layout.Key { return o.Key })
	for _, group := range happening {
		for i := range group {
			group[i].Body = ownBody(group[i].Body)
		}
	}
	taken, err = layout.PutBatch(ctx, f.Tree, happening...)
	if fault != nil {
		err = fault
	}
	return taken, err
}

// DeleteBatch counts each key as a Delete.
func (f *Faulty) DeleteBatch(ctx context.Context, groups ...[]layout.Key) error {
	happening, fault := turns(f, OpDelete, groups, func(key layout.Key) layout.Key { return key })
	if err := layout.DeleteBatch(ctx, f.Tree, happening...); fault == nil {
		return err
	}
	return fault
}

// turns returns what happens of a batch, and the first error that it is to have. After a
// group with a fault nothing more happens.
func turns[T any](f *Faulty, op Op, groups [][]T, keyOf func(T) layout.Key) (happening [][]T, fault error) {
	for _, group := range groups {
		var some []T
		for _, item := range group {
			happens, err := f.turn(op, keyOf(item))
			if happens {
				some = append(some, item)
			}
			if fault == nil {
				fault = err
			}
		}
		happening = append(happening, some)
		if fault != nil {
			break
		}
	}
	return happening, fault
}

// CopyObject counts as a Put of the new key.
func (f *Faulty) CopyObject(ctx context.Context, from layout.Info, to layout.Key) error {
	return f.try(OpPut, to, func() error {
		copier, _ := layout.Ability[layout.Copier](f.Tree)
		return copier.CopyObject(ctx, from, to)
	})
}

// Flush fails before or after the tree below flushed.
func (f *Faulty) Flush(ctx context.Context, keys ...layout.Key) error {
	var key layout.Key
	if len(keys) > 0 {
		key = keys[0]
	}
	return f.try(OpFlush, key, func() error { return layout.Flush(ctx, f.Tree, keys...) })
}

// Touch counts as a Put.
func (f *Faulty) Touch(key layout.Key) error {
	return f.try(OpPut, key, func() error { return layout.Touch(f.Tree, key) })
}

// Gate fails before it is entered; a gate that was entered is always left.
func (f *Faulty) Gate(ctx context.Context, sweep bool) (leave func(), err error) {
	if _, fault := f.turn(OpGate, ""); fault != nil {
		return nil, fault
	}
	gate, _ := layout.Ability[layout.Gater](f.Tree)
	return gate.Gate(ctx, sweep)
}

// Fence is that of the tree below: what it asks the tree is asked by way of this one.
func (f *Faulty) Fence() *layout.Fence {
	fenced, _ := layout.Ability[layout.Fenced](f.Tree)
	return fenced.Fence()
}

// ProveFence fails before the store was asked.
func (f *Faulty) ProveFence(ctx context.Context) (layout.FenceProof, error) {
	if _, fault := f.turn(OpProve, ""); fault != nil {
		return layout.FenceProof{}, fault
	}
	return layout.ProveFence(ctx, f.Tree)
}

// Missing fails before the tree below was asked.
func (f *Faulty) Missing(ctx context.Context, paths []layout.StorePath) (map[layout.StorePath]bool, error) {
	if _, fault := f.turn(OpAsk, ""); fault != nil {
		return nil, fault
	}
	return layout.Missing(ctx, f.Tree, paths)
}

// SumOf never fails: it asks nothing.
func (f *Faulty) SumOf(key layout.Key, text []byte) string {
	sum, _ := layout.SumOf(f.Tree, key, text)
	return sum
}

// AssumeOneWriter never fails: it asks nothing.
func (f *Faulty) AssumeOneWriter() { layout.AssumeOneWriter(f.Tree) }

// Sweep never fails: what it cannot remove stays.
func (f *Faulty) Sweep() { layout.Sweep(f.Tree) }

// Create makes a file in the spool of the tree below.
func (f *Faulty) Create() (layout.SpoolFile, error) {
	if _, fault := f.turn(OpCreate, ""); fault != nil {
		return nil, fault
	}
	file, err := layout.SpoolFor(f.Tree, "").Create()
	if err != nil {
		return nil, err
	}
	return &faultyFile{SpoolFile: file, in: f}, nil
}

// A faultyFile is a file of the spool of the tree below.
type faultyFile struct {
	layout.SpoolFile
	in      *Faulty
	written bool
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if f.written {
		return f.SpoolFile.Write(p)
	}
	f.written = true
	happens, fault := f.in.turn(OpWrite, "")
	if fault == nil {
		return f.SpoolFile.Write(p)
	}
	n := 0
	if happens {
		n, _ = f.SpoolFile.Write(p[:len(p)/2])
	}
	return n, fault
}

func (f *faultyFile) Done() error { return f.in.try(OpDone, "", f.SpoolFile.Done) }

// Lend lends the file below: a reader of it does not use the tree.
func (f *faultyFile) Lend() (layout.Lent, error) { return layout.Lend(f.SpoolFile) }

// ownBody returns the body that the tree below knows as one of its own.
func ownBody(body layout.Body) layout.Body {
	if file, ok := body.(*faultyFile); ok {
		return file.SpoolFile
	}
	return body
}

package treetest

import (
	"context"
	"io"
	"iter"

	"github.com/nixstatic/nixstatic/layout"
)

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

// OpenRange counts as a Get.
func (f *Faulty) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	happens, fault := f.turn(OpGet, version.Key)
	if !happens {
		return nil, fault
	}
	body, err := layout.OpenRange(ctx, f.Tree, version, from, to)
	switch {
	case fault == nil:
		return body, err
	case err != nil:
		return nil, fault
	}
	return breakOff(body, (to-from)/2, fault), nil
}

// PutBatch counts each object as a Put.
func (f *Faulty) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	var fault error
	var happening [][]layout.Object
	for _, group := range groups {
		var some []layout.Object
		for _, o := range group {
			happens, err := f.turn(OpPut, o.Key)
			if happens {
				o.Body = ownBody(o.Body)
				some = append(some, o)
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
	taken, err = layout.PutBatch(ctx, f.Tree, happening...)
	if fault != nil {
		return taken, fault
	}
	return taken, err
}

// Flush fails before or after the tree below flushed.
func (f *Faulty) Flush(ctx context.Context, keys ...layout.Key) error {
	var key layout.Key
	if len(keys) > 0 {
		key = keys[0]
	}
	happens, fault := f.turn(OpFlush, key)
	if happens {
		if err := layout.Flush(ctx, f.Tree, keys...); fault == nil {
			return err
		}
	}
	return fault
}

// Touch counts as a Put.
func (f *Faulty) Touch(key layout.Key) error {
	happens, fault := f.turn(OpPut, key)
	if happens {
		if err := layout.Touch(f.Tree, key); fault == nil {
			return err
		}
	}
	return fault
}

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

func (f *faultyFile) Done() error {
	happens, fault := f.in.turn(OpDone, "")
	if happens {
		if err := f.SpoolFile.Done(); fault == nil {
			return err
		}
	}
	return fault
}

// ownBody returns the body that the tree below knows as one of its own.
func ownBody(body layout.Body) layout.Body {
	if file, ok := body.(*faultyFile); ok {
		return file.SpoolFile
	}
	return body
}

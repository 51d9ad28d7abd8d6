package seek

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A BadRecord is a record that cannot be understood, so that the name of its path is not
// known.
type BadRecord struct{ Err error }

// Error says which record it is, and why.
func (b *BadRecord) Error() string { return b.Err.Error() }

// Unwrap returns why.
func (b *BadRecord) Unwrap() error { return b.Err }

// Paths yields the store paths of a tree, in the order of their hashes. Their names
// stand in the records alone, of which jobs are read at once. The error is
// layout.ErrNotListable where the tree does not tell what it has. It goes on after a
// BadRecord.
//
// Index, which may be nil, yields paths in the order of their hashes that were in the tree
// at some time. The names of those that still are there are taken from it, since the
// hash of a path stands for its name, and come first. If it ends with an error the
// records tell the rest.
func Paths(ctx context.Context, r layout.Reader, storeDir string, jobs int, index iter.Seq2[layout.StorePath, error]) iter.Seq2[layout.StorePath, error] {
	if index == nil {
		return named(ctx, r, storeDir, jobs, layout.NarInfoKeys(ctx, r))
	}
	return func(yield func(layout.StorePath, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		listed := make(chan error, 1)
		var keys []layout.Key // until then of the other goroutine
		go func() {
			var err error
			keys, err = gather(layout.NarInfoKeys(ctx, r))
			listed <- err
		}()
		waiting := true
		defer func() {
			cancel()
			if waiting {
				<-listed
			}
		}()
		var news []layout.Key
		there := func(p layout.StorePath) bool {
			hash := p.Hash()
			for len(keys) > 0 && string(keys[0][:len(hash)]) < hash {
				news, keys = append(news, keys[0]), keys[1:]
			}
			if len(keys) == 0 || string(keys[0][:len(hash)]) != hash {
				return false // it has gone
			}
			keys = keys[1:]
			return true
		}
		var early []layout.StorePath // which the index told before all keys were there
		catchUp := func(err error) bool {
			waiting = false
			if err != nil {
				yield("", err)
				return false
			}
			for _, p := range early {
				if there(p) && !yield(p, nil) {
					return false
				}
			}
			early = nil
			return true
		}
		for p, err := range index {
			if err != nil {
				break
			}
			if waiting {
				select {
				case err := <-listed:
					if !catchUp(err) {
						return
					}
				default:
					early = append(early, p)
					continue
				}
			}
			if there(p) && !yield(p, nil) {
				return
			}
		}
		if waiting && !catchUp(<-listed) {
			return
		}
		news = append(news, keys...)
		named(ctx, r, storeDir, jobs, func(yield func(layout.Key, error) bool) {
			for _, key := range news {
				if !yield(key, nil) {
					return
				}
			}
		})(yield)
	}
}

// gather returns all of a sequence that may have millions: blocks of it, put together,
// are not copied again and again while they grow.
func gather(seq iter.Seq2[layout.Key, error]) ([]layout.Key, error) {
	const size = 4096
	var blocks [][]layout.Key
	block := make([]layout.Key, 0, size)
	for key, err := range seq {
		if err != nil {
			return nil, err
		}
		if len(block) == cap(block) {
			blocks, block = append(blocks, block), make([]layout.Key, 0, size)
		}
		block = append(block, key)
	}
	return slices.Concat(append(blocks, block)...), nil
}

// named yields the store paths of narinfos.
func named(ctx context.Context, r layout.Reader, storeDir string, jobs int, keys iter.Seq2[layout.Key, error]) iter.Seq2[layout.StorePath, error] {
	type outcome struct {
		path layout.StorePath
		bad  error
	}
	read := func(ctx context.Context, key layout.Key) (outcome, error) {
		text, err := layout.ReadAll(ctx, r, key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return outcome{}, nil // withdrawn since it was listed
		case errors.Is(err, layout.ErrTooLarge):
			return outcome{bad: &BadRecord{err}}, nil
		case err != nil:
			return outcome{}, err
		}
		n, err := parseRecord(key, text, storeDir)
		if err != nil {
			return outcome{bad: &BadRecord{err}}, nil
		}
		return outcome{path: n.Path}, nil
	}
	return func(yield func(layout.StorePath, error) bool) {
		for o, err := range parallel.InOrder(ctx, max(1, jobs), keys, nil, read) {
			if err == nil {
				err = o.bad
			}
			if o.path == "" && err == nil {
				continue
			}
			if !yield(o.path, err) {
				return
			}
		}
	}
}

package seek

import (
	"context"
	"errors"
	"io/fs"
	"iter"

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

// Paths yields the store paths of a tree, in the order of their hashes: their names
// stand in the records alone, of which jobs are read at once. The error is
// layout.ErrNotListable where the tree does not tell what it has. It goes on after a
// BadRecord.
func Paths(ctx context.Context, r layout.Reader, storeDir string, jobs int) iter.Seq2[layout.StorePath, error] {
	keys := func(yield func(layout.Key, error) bool) {
		for entry, err := range layout.ListTop(ctx, r) {
			if err != nil || entry.Folder == "" && entry.Key.Kind() == layout.KindNarInfo {
				if !yield(entry.Key, err) {
					return
				}
			}
		}
	}
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

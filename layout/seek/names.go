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

// A Part is a part of an index: the hashes of some paths that were in the tree at some
// time, and those of the paths that match.
type Part struct {
	Hashes []byte // one behind the other, in order
	Paths  []layout.StorePath
}

// Paths yields the store paths of a tree that match. Their names stand in the records alone,
// of which jobs are read at once, in the order of their hashes. The error is
// layout.ErrNotListable where the tree does not tell what it has. It goes on after a
// BadRecord.
//
// Index, which may be nil, yields parts in the order of hashes. The names of the
// paths that still are there are taken from it, since the hash of a path stands for its
// name, and come first. If it ends with an error the records tell the rest.
func Paths(ctx context.Context, r layout.Reader, storeDir string, jobs int, match func(hash, name string) bool, index iter.Seq2[Part, error]) iter.Seq2[layout.StorePath, error] {
	return func(yield func(layout.StorePath, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		blocks := listed(ctx, r)
		defer func() {
			cancel()
			for range blocks { // until it has ended
			}
		}()
		var known known
		if index != nil {
			for part, err := range index {
				if err != nil || !known.add(part) {
					break
				}
			}
		}
		var news []layout.Key
		for block := range blocks {
			if block.err != nil {
				yield("", block.err)
				return
			}
			for _, key := range block.keys {
				if !known.mark(key.PathHash()) {
					news = append(news, key)
				}
			}
		}
		for _, p := range known.paths {
			if known.marked(p.Hash()) && !yield(p, nil) {
				return
			}
		}
		slices.Sort(news)
		news = slices.Compact(news)
		for p, err := range named(ctx, r, storeDir, jobs, news) {
			if (err != nil || match(p.Hash(), p.Name())) && !yield(p, err) {
				return
			}
		}
	}
}

// A block is some of the keys of a long list.
type block struct {
	keys []layout.Key
	err  error
}

// listed lists the narinfos, while its caller does something else. The channel is closed when
// it has ended.
func listed(ctx context.Context, r layout.Reader) <-chan block {
	const size, ahead = 4096, 256
	blocks := make(chan block, ahead)
	send := func(b block) bool {
		select {
		case blocks <- b:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(blocks)
		keys := make([]layout.Key, 0, size)
		for key, err := range layout.NarInfoKeys(ctx, r) {
			if err != nil {
				send(block{err: err})
				return
			}
			if keys = append(keys, key); len(keys) == size {
				if !send(block{keys: keys}) {
					return
				}
				keys = make([]layout.Key, 0, size)
			}
		}
		send(block{keys: keys})
	}()
	return blocks
}

// named yields the store paths of narinfos.
func named(ctx context.Context, r layout.Reader, storeDir string, jobs int, all []layout.Key) iter.Seq2[layout.StorePath, error] {
	keys := func(yield func(layout.Key, error) bool) {
		for _, key := range all {
			if !yield(key, nil) {
				return
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

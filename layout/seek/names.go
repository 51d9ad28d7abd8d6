package seek

import (
	"context"
	"errors"
	"hash/maphash"
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
	Hashes []byte // one behind the other
	Paths  []layout.StorePath
}

// Paths yields the store paths of a tree that match. Their names stand in the records alone,
// of which jobs are read at once, in the order of their hashes. The error is
// layout.ErrNotListable where the tree does not tell what it has. It goes on after a
// BadRecord.
//
// Index, which may be nil, yields parts, none of which has a path of another. The names of the
// paths that still are there are taken from it, since the hash of a path stands for its
// name, and come first. If it ends with an error the records tell the rest.
func Paths(ctx context.Context, r layout.Reader, storeDir string, jobs int, match func(hash, name string) bool, index iter.Seq2[Part, error]) iter.Seq2[layout.StorePath, error] {
	return func(yield func(layout.StorePath, error) bool) {
		seed := maphash.MakeSeed()
		var failed error
		listed, ended := newHashSet(seed), make(chan struct{})
		go func() {
			defer close(ended)
			failed = listed.list(ctx, r)
		}()
		known := newHashSet(seed)
		var paths []layout.StorePath
		if index != nil {
			for part, err := range index {
				if err != nil || !known.add(part.Hashes) {
					break
				}
				paths = append(paths, part.Paths...)
			}
		}
		if <-ended; failed != nil {
			yield("", failed)
			return
		}
		// Only where the tree and the index are not the same each hash is looked at.
		var there []string
		for hash := range listed.unlike(known) {
			there = append(there, string(hash))
		}
		slices.Sort(there)
		there = slices.Compact(there)
		old, told := make([]bool, len(there)), make([]bool, len(there))
		for hash := range known.unlike(listed) {
			if n, found := slices.BinarySearch(there, string(hash)); found {
				old[n] = true
			}
		}
		for _, p := range paths {
			if differs(listed, known, p.Hash()) {
				n, found := slices.BinarySearch(there, p.Hash())
				if !found || told[n] {
					continue
				}
				told[n] = true
			}
			if !yield(p, nil) {
				return
			}
		}
		var news []layout.Key
		for n, hash := range there {
			if !old[n] {
				news = append(news, layout.NarInfoKeyOf(hash))
			}
		}
		for p, err := range named(ctx, r, storeDir, jobs, news) {
			if (err != nil || match(p.Hash(), p.Name())) && !yield(p, err) {
				return
			}
		}
	}
}

// list takes the hashes of the narinfos of a tree.
func (s *hashSet) list(ctx context.Context, r layout.Reader) error {
	const size = 4096 * hashLen
	var block []byte
	for key, err := range layout.NarInfoKeys(ctx, r) {
		if err != nil {
			return err
		}
		if block == nil {
			block = make([]byte, 0, size)
		}
		// The key of a narinfo begins with the hash.
		if block = append(block, key[:hashLen]...); len(block) == size {
			s.add(block)
			block = nil
		}
	}
	s.add(block)
	return nil
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

package pages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A Part is what a shard of the search index tells of names.
type Part struct {
	Hashes []byte             // of all its paths, one behind the other, in order
	Paths  []layout.StorePath // those that match, in order
}

// Names yields the parts of the search index of a tree, or of a cache behind a web server, in
// the order of hashes; jobs shards are read at once. Match is asked of each path, by several
// goroutines. The error is fs.ErrNotExist if there is no index, and a DamagedError if it
// makes no sense. The index may be older than the tree.
func Names(ctx context.Context, r layout.Reader, jobs int, match func(hash, name string) bool) iter.Seq2[Part, error] {
	shards := func(yield func(shard, error) bool) {
		hashes, t, err := namesTable(ctx, r)
		if err != nil {
			yield(shard{}, err)
			return
		}
		for _, s := range t.Shards {
			s.name = string(hashes.shard(s.name))
			if !yield(s, nil) {
				return
			}
		}
	}
	load := func(ctx context.Context, s shard) (Part, error) {
		return loadNames(ctx, r, s, match)
	}
	return func(yield func(Part, error) bool) {
		last := ""
		for part, err := range parallel.InOrder(ctx, max(1, jobs), shards, nil, load) {
			if n := len(part.Hashes); err == nil && n > 0 {
				if string(part.Hashes[:hashLen]) <= last {
					err = &DamagedError{errors.New("its shards are out of order")}
				}
				last = string(part.Hashes[n-hashLen:])
			}
			if err != nil {
				yield(Part{}, err)
				return
			}
			if !yield(part, nil) {
				return
			}
		}
	}
}

// namesTable reads the list of hashes of a page: the public one, or, in a tree, the private one.
// A web server shows nothing private, and is not asked for it.
func namesTable(ctx context.Context, r layout.Reader) (kind, *table, error) {
	hashes, _ := tables(false)
	text, err := layout.ReadAll(ctx, r, hashes.list())
	if layout.IsTree(r) && errors.Is(err, fs.ErrNotExist) {
		hashes, _ = tables(true)
		text, err = layout.ReadAll(ctx, r, hashes.list())
	}
	if err != nil {
		return hashes, nil, err
	}
	t, err := parseTable(text)
	if err != nil {
		return hashes, nil, &DamagedError{err}
	}
	return hashes, t, nil
}

// loadNames reads a shard, whose name is its key here. Only of the paths that match
// everything is looked at.
func loadNames(ctx context.Context, r layout.Reader, s shard, match func(hash, name string) bool) (part Part, err error) {
	key := layout.Key(s.name)
	text, err := layout.ReadAll(ctx, r, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		err = &DamagedError{err}
	}
	if err != nil {
		return part, err
	}
	part.Hashes = make([]byte, 0, hashLen*max(0, min(s.lines, len(text)/hashLen)))
	last := ""
	for rest := string(text); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if len(line) <= hashLen || line[hashLen] != ' ' {
			return part, &DamagedError{fmt.Errorf("line %.300q has no name", line)}
		}
		hash, name := line[:hashLen], line[hashLen+1:]
		if end := strings.IndexByte(name, ' '); end >= 0 {
			name = name[:end]
		}
		if hash <= last {
			return part, &DamagedError{fmt.Errorf("%s is out of order", key)}
		}
		last = hash
		part.Hashes = append(part.Hashes, hash...)
		if match(hash, name) {
			p, err := layout.ParseStorePath(hash + "-" + name)
			if err != nil {
				return part, &DamagedError{err}
			}
			part.Paths = append(part.Paths, p)
		}
	}
	return part, nil
}

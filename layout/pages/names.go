package pages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// Names yields the store paths of the search index of a tree, or of a cache behind a
// web server, in the order of their hashes; jobs shards are read at once. The error
// is fs.ErrNotExist if there is no index, and a DamagedError if it makes no sense.
// The index may be older than the tree.
func Names(ctx context.Context, r layout.Reader, jobs int) iter.Seq2[layout.StorePath, error] {
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
	load := func(ctx context.Context, s shard) ([]layout.StorePath, error) {
		return loadNames(ctx, r, s)
	}
	return func(yield func(layout.StorePath, error) bool) {
		last := layout.StorePath("")
		for paths, err := range parallel.InOrder(ctx, max(1, jobs), shards, nil, load) {
			if err == nil && len(paths) > 0 && paths[0] <= last {
				err = &DamagedError{errors.New("its shards are out of order")}
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, p := range paths {
				if !yield(p, nil) {
					return
				}
				last = p
			}
		}
	}
}

// namesTable reads the list of hashes of a page, whether it is public or not.
func namesTable(ctx context.Context, r layout.Reader) (kind, *table, error) {
	settings, err := ReadSettings(ctx, r)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a web server shows no settings
		return kind{}, nil, err
	}
	hashes, _ := tables(settings.Unlisted)
	text, err := layout.ReadAll(ctx, r, hashes.list())
	if err != nil {
		return hashes, nil, err
	}
	t, err := parseTable(text)
	if err != nil {
		return hashes, nil, &DamagedError{err}
	}
	return hashes, t, nil
}

// loadNames returns the paths of a shard, whose name is its key here.
func loadNames(ctx context.Context, r layout.Reader, s shard) ([]layout.StorePath, error) {
	key := layout.Key(s.name)
	text, err := layout.ReadAll(ctx, r, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		err = &DamagedError{err}
	}
	if err != nil {
		return nil, err
	}
	paths := make([]layout.StorePath, 0, max(0, min(s.lines, len(text)/hashLen)))
	whole := string(text)
	for begin := 0; begin < len(whole); {
		end := begin
		for end < len(whole) && whole[end] != '\n' {
			end++
		}
		line := whole[begin:end]
		begin = end + 1
		p, err := pathOf(line)
		if err == nil && len(paths) > 0 && p <= paths[len(paths)-1] {
			err = fmt.Errorf("%s is out of order", key)
		}
		if err != nil {
			return nil, &DamagedError{err}
		}
		paths = append(paths, p)
	}
	return slices.Clip(paths), nil
}

// pathOf returns the store path of a line of the table of hashes.
func pathOf(line string) (layout.StorePath, error) {
	if len(line) <= hashLen || line[hashLen] != ' ' {
		return "", fmt.Errorf("line %.300q has no name", line)
	}
	end := hashLen + 1
	for end < len(line) && line[end] != ' ' {
		end++
	}
	return layout.ParseStorePath(line[:hashLen] + "-" + line[hashLen+1:end])
}

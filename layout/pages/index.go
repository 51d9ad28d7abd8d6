package pages

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// index brings the tables up to date: names first, so that a process that dies in
// between leaves paths that the table of hashes does not know yet, and the next
// change brings both. It reports whether anything was new. However much that is, the
// memory for it is little more than the records.
func (k *Keeper) index(ctx context.Context, settings Settings, c Change) (news bool, err error) {
	if len(c.Came)+len(c.Gone) == 0 {
		return false, nil
	}
	hashes, names := tables(settings.Unlisted)
	t, _, err := k.read(ctx, hashes)
	if err != nil {
		return false, err
	}
	var all difference
	parts := c.parts(recordsAtOnce)
	for _, part := range parts {
		d, err := k.compare(ctx, hashes, t, part)
		if err != nil {
			return false, err
		}
		if len(parts) == 1 {
			all = d // with its edits
			break
		}
		all.came, all.gone = append(all.came, d.came...), append(all.gone, d.gone...)
	}
	if all.empty() {
		return false, nil
	}
	if !settings.Unlisted {
		for edits := range wordEdits(all, names, wordsAtOnce) {
			if err := k.edit(ctx, names, func(*table) ([]edit, *totals, error) { return edits, nil, nil }); err != nil {
				return false, err
			}
		}
	}
	for _, part := range all.change().parts(recordsAtOnce) {
		err := k.edit(ctx, hashes, func(now *table) ([]edit, *totals, error) {
			d := all
			if len(parts) > 1 || !slices.Equal(now.Shards, t.Shards) { // whose names are those of their bytes
				var err error
				if d, err = k.compare(ctx, hashes, now, part); err != nil {
					return nil, nil, err
				}
			}
			return d.edits, now.Totals.after(d.came, d.gone), nil
		})
		if err != nil {
			return true, err
		}
	}
	return true, nil
}

// edit replaces the list of a table, after the shards that it names.
func (k *Keeper) edit(ctx context.Context, kind kind, edits func(*table) ([]edit, *totals, error)) error {
	var due []layout.Key
	err := layout.Update(ctx, k.Tree, kind.list(), func(text []byte) ([]byte, error) {
		due = nil
		have, err := parseTable(text)
		if err != nil {
			return nil, &DamagedError{err}
		}
		lines, totals, err := edits(have)
		if err != nil || len(lines) == 0 {
			return nil, err
		}
		next, shards, err := have.change(kind, lines, k.now(), k.shard(ctx))
		if err != nil {
			return nil, err
		}
		next.Totals = totals
		due = next.due(kind, k.now())
		var objects []layout.Object
		for _, key := range slices.Sorted(maps.Keys(shards)) {
			objects = append(objects, layout.Object{Key: key, Body: layout.Bytes(shards[key])})
		}
		if _, err := layout.PutBatch(ctx, k.Tree, objects); err != nil {
			return nil, err
		}
		return next.marshal()
	})
	if err != nil {
		return err
	}
	return k.drop(ctx, due)
}

// shard reads the shards of a table.
func (k *Keeper) shard(ctx context.Context) func(layout.Key) ([]byte, error) {
	return func(key layout.Key) ([]byte, error) { return layout.ReadAll(ctx, k.Tree, key) }
}

// read returns a table, and the version of its list.
func (k *Keeper) read(ctx context.Context, kind kind) (*table, layout.Info, error) {
	text, info, err := layout.ReadVersion(ctx, k.Tree, kind.list())
	if errors.Is(err, fs.ErrNotExist) {
		return &table{Version: tableVersion}, info, nil
	}
	if err != nil {
		return nil, info, err
	}
	t, err := parseTable(text)
	if err != nil {
		err = &DamagedError{err}
	}
	return t, info, err
}

// A difference is what a change means for a table of hashes.
type difference struct {
	came, gone []Record
	edits      []edit
}

func (d *difference) empty() bool { return len(d.came)+len(d.gone) == 0 }

// compare finds out what of a part of a change is news. A path that is known keeps the time
// at which it came.
func (k *Keeper) compare(ctx context.Context, hashes kind, t *table, c Change) (d difference, err error) {
	came, gone := c.Came, c.Gone
	news := func(r Record) {
		d.came = append(d.came, r)
		d.edits = append(d.edits, edit{r.Path.Hash(), r.line(), false})
	}
	before := func(end string) { // news, and what was gone already
		for len(came) > 0 && came[0].Path.Hash() < end {
			news(came[0])
			came = came[1:]
		}
		gone = gone[sort.Search(len(gone), func(i int) bool { return gone[i].Hash() >= end }):]
	}
	read := k.shard(ctx)
	for i := range t.Shards {
		end, more := t.end(i)
		if more && (len(came) == 0 || came[0].Path.Hash() >= end) && (len(gone) == 0 || gone[0].Hash() >= end) {
			continue
		}
		if len(came)+len(gone) == 0 {
			break
		}
		lines, err := hashes.load(t.Shards[i], read)
		if err != nil {
			return d, err
		}
		for _, line := range lines {
			hash := hashOf(line)
			before(hash)
			isGone := len(gone) > 0 && gone[0].Hash() == hash
			isThere := len(came) > 0 && came[0].Path.Hash() == hash
			if !isGone && !isThere {
				continue
			}
			have, err := parseLine(line)
			if err != nil {
				return d, &DamagedError{err}
			}
			if !isThere {
				d.gone = append(d.gone, have)
				d.edits = append(d.edits, edit{hash, line, true})
				continue
			}
			want := came[0]
			came = came[1:]
			if want.Time = have.Time; want != have {
				d.gone = append(d.gone, have)
				news(want)
			}
		}
		if more {
			before(end)
		}
	}
	for _, r := range came {
		news(r)
	}
	return d, nil
}

// Known calls each with every path of the search index, in the order of hashes.
func (k *Keeper) Known(ctx context.Context, each func(Record) error) error {
	settings, err := ReadSettings(ctx, k.Tree)
	if err != nil {
		return err
	}
	hashes, _ := tables(settings.Unlisted)
	t, _, err := k.read(ctx, hashes)
	if err != nil {
		return err
	}
	read := k.shard(ctx)
	for _, s := range t.Shards {
		lines, err := hashes.load(s, read)
		if err != nil {
			return err
		}
		for _, line := range lines {
			r, err := parseLine(line)
			if err != nil {
				return &DamagedError{err}
			}
			if err := each(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget removes a search index that is damaged, so that it can be made anew.
// Shards that no list names are found by listing.
func (k *Keeper) Forget(ctx context.Context) error {
	settings, err := ReadSettings(ctx, k.Tree)
	if err != nil {
		return err
	}
	return k.clear(ctx, settings.Unlisted, func(key layout.Key) bool { return strings.HasSuffix(string(key), ".txt") })
}

// Clear removes the search index of a listed or an unlisted page, and the graphs of
// pins with it.
func (k *Keeper) Clear(ctx context.Context, unlisted bool) error {
	return k.clear(ctx, unlisted, func(layout.Key) bool { return true })
}

func (k *Keeper) clear(ctx context.Context, unlisted bool, goes func(layout.Key) bool) error {
	hashes, names := tables(unlisted)
	if err := k.drop(ctx, []layout.Key{hashes.list(), names.list()}); err != nil {
		return err
	}
	var keys []layout.Key
	for info, err := range k.Tree.List(ctx, hashes.folder) {
		if err != nil {
			return err
		}
		if kind := info.Key.Kind(); (kind == layout.KindPage || kind == layout.KindPrivate) && goes(info.Key) {
			keys = append(keys, info.Key)
		}
	}
	return k.drop(ctx, keys)
}

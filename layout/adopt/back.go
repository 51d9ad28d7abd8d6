package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// A waiting record was set aside by an earlier run, for want of a path that it refers
// to.
type waiting struct {
	key  layout.Key // in the quarantine
	n    *layout.NarInfo
	text []byte
}

// bringBack publishes the paths of the quarantine that lacked others, and lack none by
// now. Like all others, they are read afterwards.
func (a *adoption) bringBack(ctx context.Context) error {
	found, err := a.waiting(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	there := func(p layout.StorePath) (bool, error) {
		if found[p.Hash()] != nil {
			return true, nil
		}
		if _, there, err := layout.Lookup(ctx, a.tree, layout.NarInfoKey(p)); there || err != nil {
			return there, err
		}
		return a.o.Provided(ctx, p)
	}
	for changed := true; changed; {
		changed = false
		for hash, w := range found {
			for _, ref := range w.n.References {
				if ref == w.n.Path {
					continue
				}
				ok, err := there(ref)
				if err != nil {
					return err
				}
				if !ok {
					delete(found, hash)
					changed = true
					break
				}
			}
		}
	}
	for _, level := range arrange(found) {
		if err := a.putBack(ctx, level); err != nil {
			return err
		}
	}
	return nil
}

// waiting returns the records of the quarantine that may come back, by their hashes.
func (a *adoption) waiting(ctx context.Context) (map[string]*waiting, error) {
	found := map[string]*waiting{}
	for info, err := range layout.List(ctx, a.tree, layout.QuarantinePrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the quarantine: %w", err)
		}
		original := layout.Key(strings.TrimPrefix(string(info.Key), layout.QuarantinePrefix))
		if original.Kind() != layout.KindNarInfo {
			continue
		}
		why, err := layout.ReadAll(ctx, a.tree, layout.QuarantineReason(info.Key))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(why), missingReference+" ") {
			continue
		}
		if err != nil {
			return nil, err
		}
		text, err := layout.ReadAll(ctx, a.tree, info.Key)
		if errors.Is(err, layout.ErrTooLarge) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n, err := layout.ParseNarInfo(text, a.info.StoreDir)
		if err != nil || layout.NarInfoKey(n.Path) != original {
			continue
		}
		if _, err := layout.FindNAR(ctx, a.tree, n); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		found[n.Path.Hash()] = &waiting{info.Key, n, text}
	}
	return found, nil
}

// arrange returns records level by level, each behind those that it refers to.
func arrange(found map[string]*waiting) (levels [][]*waiting) {
	depth := map[string]int{}
	for len(depth) < len(found) {
		var level []*waiting
		for hash, w := range found {
			if depth[hash] == 0 && !slices.ContainsFunc(w.n.References, func(ref layout.StorePath) bool {
				return ref != w.n.Path && found[ref.Hash()] != nil && depth[ref.Hash()] == 0
			}) {
				level = append(level, w)
			}
		}
		if len(level) == 0 {
			return levels // they refer to each other in a circle, as no paths do
		}
		for _, w := range level {
			depth[w.n.Path.Hash()] = len(levels) + 1
		}
		slices.SortFunc(level, func(a, b *waiting) int { return strings.Compare(string(a.key), string(b.key)) })
		levels = append(levels, level)
	}
	return levels
}

func (a *adoption) putBack(ctx context.Context, level []*waiting) error {
	var keys, quarantined []layout.Key
	var objects []layout.Object
	for _, w := range level {
		a.out.Back = append(a.out.Back, w.n.Path)
		key := layout.NarInfoKey(w.n.Path)
		objects = append(objects, layout.Object{Key: key, Body: layout.Bytes(w.text), Opts: layout.PutOptions{IfAbsent: true}})
		quarantined = append(quarantined, w.key)
		keys = append(keys, key)
		for _, ref := range w.n.References {
			keys = append(keys, layout.NarInfoKey(ref), layout.ProvisionKey(ref))
		}
		if nars, err := w.n.NARKeys(); err == nil {
			keys = append(keys, nars...)
		}
	}
	if a.o.Dry {
		return nil
	}
	for {
		rely, err := layout.Rely(ctx, a.tree, a.seen, keys...)
		if err != nil {
			return err
		}
		if rely.Stale {
			rely.Release()
			return fmt.Errorf("bring paths back: %w", layout.ErrRemoved)
		}
		_, err = layout.PutBatch(rely.Context(ctx), a.tree, objects)
		rely.Release()
		if errors.Is(err, layout.ErrLate) {
			continue
		}
		if err != nil {
			return err
		}
		return gc.PutBack(ctx, a.tree, quarantined)
	}
}

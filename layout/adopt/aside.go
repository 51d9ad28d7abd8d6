package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// missingReference is the kind of what lacks nothing but others: it comes back once they
// are there.
const missingReference = "missing-reference"

// closures finds the paths that refer to what is wrong or missing, all the way up.
func (a *adoption) closures(ctx context.Context) error {
	above := map[string][]string{} // who refers to a path
	var lost []string
	for _, hash := range a.scan.hashes {
		p := a.scan.paths[hash]
		if _, bad := a.bad[p.record.Key]; bad {
			lost = append(lost, hash)
			continue
		}
		for _, ref := range p.refs {
			if ref != p.name {
				above[ref.Hash()] = append(above[ref.Hash()], hash)
			}
		}
	}
	for hash := range above {
		if a.scan.paths[hash] == nil {
			lost = append(lost, hash)
		}
	}
	slices.Sort(lost)
	for len(lost) > 0 {
		hash := lost[0]
		lost = lost[1:]
		for _, by := range above[hash] {
			p := a.scan.paths[by]
			if _, bad := a.bad[p.record.Key]; bad {
				continue
			}
			ref := p.refs[slices.IndexFunc(p.refs, func(r layout.StorePath) bool { return r.Hash() == hash })]
			there, err := a.elsewhere(ctx, ref)
			if err != nil {
				a.unknown(fmt.Errorf("cannot tell whether an upstream provides %s: %w", ref, err))
			}
			if err != nil || there {
				continue
			}
			a.tell(wrong{Finding{Kind: missingReference, Key: p.record.Key, Path: p.name, Detail: fmt.Sprintf("refers to %s", ref)}, p.record})
			lost = append(lost, by)
		}
	}
	for _, hash := range a.scan.hashes {
		p := a.scan.paths[hash]
		if _, bad := a.bad[p.record.Key]; p.right && !bad {
			a.out.Paths++
		}
	}
	return nil
}

// elsewhere reports whether an upstream provides a path, or another program has
// published it meanwhile.
func (a *adoption) elsewhere(ctx context.Context, ref layout.StorePath) (bool, error) {
	provided, err := a.o.Provided(ctx, ref)
	if provided || err != nil || a.scan.paths[ref.Hash()] != nil {
		return provided, err
	}
	_, there, err := layout.Lookup(ctx, a.tree, layout.NarInfoKey(ref))
	return there, err
}

// setAside takes what is wrong out of the tree.
func (a *adoption) setAside(ctx context.Context) error {
	if len(a.bad) == 0 {
		return nil
	}
	groups := a.groups()
	a.bad = map[layout.Key]wrong{}
	var all []wrong
	var asides [][]gc.Aside
	for _, group := range groups {
		var some []gc.Aside
		for _, w := range group {
			all = append(all, w)
			some = append(some, gc.Aside{Object: w.object, Why: w.Finding.String()})
		}
		asides = append(asides, some)
	}
	went := map[layout.Key]bool{}
	if !a.o.Dry {
		keys, err := gc.SetAside(ctx, a.tree, asides, a.needed)
		for _, key := range keys {
			went[key] = true
		}
		if err != nil {
			return err
		}
	}
	for _, w := range all {
		if !a.o.Dry && !went[w.Key] {
			if _, there, err := layout.Lookup(ctx, a.tree, w.Key); err != nil || !there {
				continue // another program removed it
			}
			a.out.Unknown = append(a.out.Unknown, fmt.Sprintf("%s has changed, or a path needs it that was published meanwhile", w.Key))
			continue
		}
		a.out.Quarantined = append(a.out.Quarantined, w.Finding)
		if a.o.Found != nil {
			a.o.Found(w.Finding)
		}
	}
	return nil
}

// groups puts what is wrong in the order in which it goes: each path before those that
// it refers to, and NARs last.
func (a *adoption) groups() [][]wrong {
	var first, nars, level []wrong
	referrers := map[layout.Key]int{} // that are wrong, too, and have not gone before
	refs := func(key layout.Key, do func(layout.Key)) {
		p := a.scan.paths[key.PathHash()]
		if p == nil {
			return
		}
		for _, ref := range p.refs {
			if _, bad := a.bad[layout.NarInfoKey(ref)]; bad && ref != p.name {
				do(layout.NarInfoKey(ref))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.bad)) {
		switch w := a.bad[key]; key.Kind() {
		case layout.KindNarInfo:
			refs(key, func(ref layout.Key) { referrers[ref]++ })
		case layout.KindNAR:
			nars = append(nars, w)
		default:
			first = append(first, w)
		}
	}
	groups := [][]wrong{first}
	left := map[layout.Key]bool{}
	for key, w := range a.bad {
		if key.Kind() == layout.KindNarInfo {
			left[key] = true
			if referrers[key] == 0 {
				level = append(level, w)
			}
		}
	}
	for len(level) > 0 {
		groups = append(groups, level)
		var next []wrong
		for _, w := range level {
			delete(left, w.Key)
			refs(w.Key, func(ref layout.Key) {
				if referrers[ref]--; referrers[ref] == 0 {
					next = append(next, a.bad[ref])
				}
			})
		}
		level = next
	}
	for key := range left { // they refer to each other in a circle
		groups = append(groups, []wrong{a.bad[key]})
	}
	groups = append(groups, nars)
	for _, group := range groups {
		slices.SortFunc(group, func(a, b wrong) int { return strings.Compare(string(a.Key), string(b.Key)) })
	}
	return groups
}

// needed returns what paths lead to that were published since the tree was listed.
func (a *adoption) needed(ctx context.Context) (map[layout.Key]bool, error) {
	keys := map[layout.Key]bool{}
	for key, err := range layout.NarInfoKeys(ctx, a.tree) {
		if err != nil {
			return nil, err
		}
		if a.scan.paths[key.PathHash()] != nil {
			continue
		}
		text, err := layout.ReadAll(ctx, a.tree, key)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n, err := layout.ParseNarInfo(text, a.info.StoreDir)
		if err != nil {
			continue
		}
		for _, ref := range n.References {
			keys[layout.NarInfoKey(ref)] = true
		}
		nars, _ := n.NARKeys()
		for _, nar := range nars {
			keys[nar] = true
		}
	}
	return keys, nil
}

// rest checks the tree as it is now, without the NARs, and sets aside what is wrong
// beside the paths: links, realisations, files with impossible names.
func (a *adoption) rest(ctx context.Context) error {
	for p, err := range fsck.Check(ctx, a.tree, fsck.Options{Provided: a.o.Provided}) {
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a.unknown(err)
			continue
		}
		switch p.Kind {
		case fsck.BadDebugInfo, fsck.DanglingDebugInfo, fsck.BadRealisation, fsck.MalformedKey:
			if err := a.wrongAt(ctx, Finding{Kind: p.Kind.String(), Key: p.Key, Path: p.Path, Detail: p.Detail}); err != nil {
				return err
			}
		case fsck.NoCacheInfo:
		default:
			if !p.Kind.Note() && !a.o.Dry {
				a.unknown(errors.New(p.String()))
			}
		}
	}
	return a.setAside(ctx)
}

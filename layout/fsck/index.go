package fsck

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// An index is what the listing of a tree says, sorted as it was listed.
type index struct {
	paths        []pathEntry
	nars         []narEntry
	listed       int // nars found by name later stand behind these
	debug        []layout.Key
	realisations []layout.Key
}

type pathEntry struct {
	hash             [32]byte
	narinfo, listing bool
	retained         bool  // the listing of a path that can be brought back
	nar              int32 // in nars; -1 if it is not known
}

func (e *pathEntry) narInfo() layout.Key    { return layout.NarInfoKeyOf(string(e.hash[:])) }
func (e *pathEntry) listingKey() layout.Key { return layout.ListingKeyOf(string(e.hash[:])) }

type narEntry struct {
	key        layout.Key
	size       int64
	referenced bool
}

// scan lists the tree.
func (c *check) scan(ctx context.Context) error {
	c.index = &index{}
	last := layout.Key("")
	for info, err := range c.tree.List(ctx, "") {
		if entry := (*layout.EntryError)(nil); errors.As(err, &entry) {
			if err := c.emit(finding{Problem{Key: entry.Key}, err}); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("list the cache: %w", err)
		}
		if info.Key <= last {
			return fmt.Errorf("list the cache: %s comes after %s", info.Key, last)
		}
		last = info.Key
		switch info.Key.Kind() {
		case layout.KindNAR:
			if _, err := info.Key.FileHash(); err != nil && !errors.Is(err, layout.ErrOtherName) {
				err := c.emit(finding{Problem: Problem{Kind: MalformedKey, Key: info.Key, Detail: err.Error()}})
				if err != nil {
					return err
				}
			}
			c.index.nars = append(c.index.nars, narEntry{key: info.Key, size: info.Size})
		case layout.KindNarInfo, layout.KindListing:
			c.index.add(info.Key)
		case layout.KindDebugInfo:
			c.index.debug = append(c.index.debug, info.Key)
		case layout.KindRealisation:
			c.index.realisations = append(c.index.realisations, info.Key)
		case layout.KindForeign:
			if err := c.emit(finding{Problem: Problem{Kind: ForeignFile, Key: info.Key}}); err != nil {
				return err
			}
		}
	}
	for info, err := range c.tree.List(ctx, layout.StagingPrefix) {
		if err != nil {
			return fmt.Errorf("list the cache: %w", err)
		}
		p := Problem{Kind: UnfinishedFile, Key: info.Key, Detail: fmt.Sprintf("%d bytes", info.Size)}
		if err := c.emit(finding{Problem: p}); err != nil {
			return err
		}
	}
	c.index.listed = len(c.index.nars)
	for _, e := range c.index.paths {
		if e.narinfo {
			c.o.Progress.TotalPaths.Add(1)
		}
	}
	if c.o.Deep {
		for _, n := range c.index.nars {
			c.o.Progress.TotalNARs.Add(1)
			c.o.Progress.TotalBytes.Add(n.size)
		}
	}
	return nil
}

// add notes a narinfo or a listing. Those of one path come one after the other.
func (x *index) add(key layout.Key) {
	hash := key.PathHash()
	n := len(x.paths)
	if n == 0 || string(x.paths[n-1].hash[:]) != hash {
		x.paths = append(x.paths, pathEntry{nar: -1})
		copy(x.paths[n].hash[:], hash)
		n++
	}
	if key.Kind() == layout.KindNarInfo {
		x.paths[n-1].narinfo = true
	} else {
		x.paths[n-1].listing = true
	}
}

// retain notes that the path of a listing without a narinfo can be brought back.
func (x *index) retain(hash string) {
	i, ok := sort.Find(len(x.paths), func(i int) int { return strings.Compare(hash, string(x.paths[i].hash[:])) })
	if ok {
		x.paths[i].retained = true
	}
}

// hasNarInfo reports whether the listing had a narinfo of that hash.
func (x *index) hasNarInfo(hash string) bool {
	i, ok := sort.Find(len(x.paths), func(i int) int { return strings.Compare(hash, string(x.paths[i].hash[:])) })
	return ok && x.paths[i].narinfo
}

// nar returns where in nars the listing's NAR of that key is, or -1.
func (x *index) nar(key layout.Key) int32 {
	i, ok := sort.Find(x.listed, func(i int) int { return strings.Compare(string(key), string(x.nars[i].key)) })
	if !ok {
		return -1
	}
	return int32(i)
}

// oneOf returns the key of a NAR that the listing had, or else the first; "" of none.
func (x *index) oneOf(keys []layout.Key) layout.Key {
	for _, key := range keys {
		if x.nar(key) >= 0 {
			return key
		}
	}
	if len(keys) > 0 {
		return keys[0]
	}
	return ""
}

// elsewhere reports whether there is a NAR that is named by this hash.
func (x *index) elsewhere(file layout.Hash) bool {
	for _, suffix := range layout.NARSuffixes {
		if i := x.nar(layout.NARKey(file, suffix[len(".nar"):])); i >= 0 {
			return true
		}
	}
	return false
}

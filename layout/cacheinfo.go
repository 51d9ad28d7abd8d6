package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// A CacheInfo is the content of nix-cache-info. Source of the format:
// BinaryCacheStore::init in Nix.
type CacheInfo struct {
	StoreDir      string // clients with another refuse the cache
	WantMassQuery bool   // clients may ask for many paths that they do not need
	Priority      int    // lower is asked first; cache.nixos.org has 40
}

// DefaultCacheInfo is what a new tree gets.
func DefaultCacheInfo() CacheInfo {
	return CacheInfo{StoreDir: DefaultStoreDir, WantMassQuery: true, Priority: 40}
}

// Marshal returns the file. All three fields are always there: a missing
// Priority means 0 to Nix since 2.4, ahead of every other cache.
func (c CacheInfo) Marshal() []byte {
	mass := 0
	if c.WantMassQuery {
		mass = 1
	}
	return fmt.Appendf(nil, "StoreDir: %s\nWantMassQuery: %d\nPriority: %d\n", c.StoreDir, mass, c.Priority)
}

// ParseCacheInfo reads nix-cache-info as leniently as Nix does, but for an
// empty file and a web page, which Nix takes for a cache.
func ParseCacheInfo(text []byte) (CacheInfo, error) {
	c := CacheInfo{StoreDir: DefaultStoreDir}
	known := false
	for line := range bytes.Lines(text) {
		field, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch field {
		case "StoreDir":
			if err := CheckStoreDir(value); err != nil {
				return c, err
			}
			c.StoreDir = value
		case "WantMassQuery":
			c.WantMassQuery = value == "1"
		case "Priority":
			n, err := strconv.Atoi(value)
			if err != nil {
				return c, fmt.Errorf("priority %.40q: not a number", value)
			}
			c.Priority = n
		default:
			continue
		}
		known = true
	}
	if !known {
		return c, errors.New("no StoreDir, WantMassQuery or Priority: not the description of a binary cache")
	}
	return c, nil
}

// ReadCacheInfo reads the nix-cache-info of a tree. The error is
// fs.ErrNotExist if the tree has none.
func ReadCacheInfo(ctx context.Context, r Reader) (CacheInfo, error) {
	text, err := ReadAll(ctx, r, CacheInfoKey)
	if err != nil {
		return CacheInfo{}, err
	}
	info, err := ParseCacheInfo(text)
	if err != nil {
		return info, fmt.Errorf("read %s: %w: %w", CacheInfoKey, ErrBroken, err)
	}
	return info, nil
}

// ErrBroken is a nix-cache-info that is there and says nothing.
var ErrBroken = errors.New("it is damaged")

// Init makes a tree of t: it writes info if the tree has no nix-cache-info yet,
// and returns what the tree has in the end. A tree for another store directory
// is an error.
func Init(ctx context.Context, t Tree, info CacheInfo) (CacheInfo, error) {
	if err := CheckStoreDir(info.StoreDir); err != nil {
		return info, err
	}
	err := t.Put(ctx, CacheInfoKey, Bytes(info.Marshal()), PutOptions{IfAbsent: true})
	if err == nil {
		return info, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return info, err
	}
	have, err := ReadCacheInfo(ctx, t)
	if err != nil {
		return have, err
	}
	if have.StoreDir != info.StoreDir {
		return have, fmt.Errorf("the cache is for the store directory %s, not %s", have.StoreDir, info.StoreDir)
	}
	return have, nil
}

// Mend is Init for a tree whose nix-cache-info may be damaged: that is written
// anew then, unless a path of the tree is in another store directory.
func Mend(ctx context.Context, t Tree, info CacheInfo) (have CacheInfo, mended bool, err error) {
	before, err := t.Stat(ctx, CacheInfoKey)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return info, false, err
	}
	have, broken := Init(ctx, t, info)
	if !errors.Is(broken, ErrBroken) {
		return have, false, broken
	}
	for e, err := range t.List(ctx, "") {
		if err != nil {
			return info, false, err
		}
		if e.Key.Kind() != KindNarInfo {
			continue
		}
		text, err := ReadAll(ctx, t, e.Key)
		if err != nil {
			return info, false, err
		}
		if _, err := ParseNarInfo(text, info.StoreDir); err == nil {
			break
		}
		if other, err := ParseNarInfo(text, ""); err == nil {
			return info, false, fmt.Errorf("%w, and %s is not in the store directory %s", broken, other.Path, info.StoreDir)
		}
	}
	err = t.Put(ctx, CacheInfoKey, Bytes(info.Marshal()), PutOptions{IfMatch: before.ETag})
	return info, err == nil, err
}

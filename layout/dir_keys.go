package layout

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// NarInfoKeys yields the keys of the narinfos in the directory from their names
// alone: a million of them take half a second, and to describe each takes several.
func (d *Dir) NarInfoKeys(ctx context.Context) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		keys, err := d.narInfoKeys(ctx)
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range keys {
			if !yield(key.key, nil) {
				return
			}
		}
	}
}

// A prefixed key is sorted by the beginning of its hash first, which is one comparison
// of numbers.
type prefixed struct {
	begins uint64
	key    Key
}

const keysOfBlock = 4096

func (d *Dir) narInfoKeys(ctx context.Context) ([]prefixed, error) {
	var here *os.Root
	err := d.within(".", func(root *os.Root, name string) (err error) {
		here, err = openFolder(root, name)
		return err
	})
	if errors.Is(absent(err), fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, keyError("list", "the cache", err)
	}
	defer here.Close()
	f, err := here.Open(".")
	if err != nil {
		return nil, keyError("list", "the cache", err)
	}
	defer f.Close()
	// Blocks, since a slice of millions is copied again and again while it grows.
	var blocks [][]prefixed
	block := make([]prefixed, 0, keysOfBlock)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		names, err := f.Readdirnames(4096)
		for _, name := range names {
			if len(name) == hashLen+len(".narinfo") && strings.HasSuffix(name, ".narinfo") && checkHash(name[:hashLen]) == nil {
				if len(block) == cap(block) {
					blocks, block = append(blocks, block), make([]prefixed, 0, keysOfBlock)
				}
				block = append(block, prefixed{binary.BigEndian.Uint64([]byte(name)), Key(name)})
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, keyError("list", "the cache", err)
		}
	}
	keys := slices.Concat(append(blocks, block)...)
	slices.SortFunc(keys, func(a, b prefixed) int {
		if c := cmp.Compare(a.begins, b.begins); c != 0 {
			return c
		}
		return strings.Compare(string(a.key), string(b.key))
	})
	// Some file systems name a file twice while others change the directory.
	return slices.CompactFunc(keys, func(a, b prefixed) bool { return a.key == b.key }), nil
}

package seek_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/seek"
)

// An index tells the names of the paths that are there; those that it does not know are
// read, and those that have gone are left out.
func TestPaths(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	name := func(i int) layout.StorePath { return layout.StorePath(fmt.Sprintf("%032d-p%d", i, i)) }
	put := func(i int, text string) {
		if text == "" {
			text = fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: 1\n", name(i), n.NarHash)
		}
		if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKey(name(i)))), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{1, 2, 3, 5, 8} {
		put(i, "")
	}
	every := func(string, string) bool { return true }
	index := func(end error, of ...int) func(func(seek.Part, error) bool) {
		return func(yield func(seek.Part, error) bool) {
			for _, i := range of {
				if !yield(seek.Part{Hashes: []byte(name(i).Hash()), Paths: []layout.StorePath{name(i)}}, nil) {
					return
				}
			}
			if end != nil {
				yield(seek.Part{}, end)
			}
		}
	}
	want := []layout.StorePath{path, name(1), name(2), name(3), name(5), name(8)}
	for what, index := range map[string]func(func(seek.Part, error) bool){
		"none": nil, "empty": index(nil), "all": index(nil, 1, 2, 3, 5, 8), "old": index(nil, 1, 4, 5, 9), "broken": index(errFull, 1, 2), "out of order": index(nil, 1, 5, 3, 2), "twice": index(nil, 2, 2),
	} {
		var got []layout.StorePath
		for p, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			got = append(got, p)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			break
		}
	}
	// An index of no hashes, or one that is cut off, tells nothing.
	for _, hashes := range []string{"E", "0", strings.Repeat("e", 32), strings.Repeat("z", 40)} {
		n := 0
		wrong := func(yield func(seek.Part, error) bool) { yield(seek.Part{Hashes: []byte(hashes)}, nil) }
		for range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, wrong) {
			n++
		}
		if n != len(want) {
			t.Errorf("with the index %q: %d paths", hashes, n)
		}
	}
	put(3, "garbage")
	bad, good := 0, 0
	for _, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, nil) {
		if errors.As(err, new(*seek.BadRecord)) {
			bad++
		} else if err == nil {
			good++
		}
	}
	if bad != 1 || good != len(want)-1 {
		t.Errorf("with a bad record: %d bad, %d good", bad, good)
	}
	for _, err := range seek.Paths(t.Context(), notListed{cache.Dir}, layout.DefaultStoreDir, 2, every, nil) {
		if !errors.Is(err, layout.ErrNotListable) {
			t.Errorf("a cache that cannot be listed: %v", err)
		}
	}
}

// Each path that is there is told of once, whether index and tree are alike or not.
func TestPathsOfManyIndexes(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	rng := rand.New(rand.NewPCG(5, 6))
	every := func(string, string) bool { return true }
	var all, want []layout.StorePath
	for i := range 400 {
		// Few places, so that several have more than one path.
		p := layout.StorePath(fmt.Sprintf("00%c%029d-p%d", layout.Nix32Digits[rng.IntN(32)], i, i))
		all = append(all, p)
		if rng.IntN(3) > 0 {
			want = append(want, p)
			text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: 1\n", p, n.NarHash)
			if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKey(p))), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	indexes := [][]layout.StorePath{want, all, nil}
	for _, one := range []int{0, len(want) / 2, len(want) - 1} { // all but one
		indexes = append(indexes, slices.Delete(slices.Clone(want), one, one+1))
	}
	for range 20 {
		indexes = append(indexes, slices.DeleteFunc(slices.Clone(all), func(layout.StorePath) bool { return rng.IntN(2) == 0 }))
	}
	want = append(want, path)
	slices.Sort(want)
	for i, known := range indexes {
		index := func(yield func(seek.Part, error) bool) {
			for some := range slices.Chunk(known, 70) {
				part := seek.Part{Paths: some}
				for _, p := range some {
					part.Hashes = append(part.Hashes, p.Hash()...)
				}
				if !yield(part, nil) {
					return
				}
			}
		}
		var got []layout.StorePath
		for p, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("index %d (-want +got):\n%s", i, diff)
		}
	}
}

type notListed struct{ layout.Reader }

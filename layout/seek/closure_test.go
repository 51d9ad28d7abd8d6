package seek_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/seek"
)

func TestWalkClosure(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	put := func(i int, refs string) layout.StorePath {
		p := layout.StorePath(fmt.Sprintf("%032d-p", i))
		text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: %d\nFileSize: %d\nReferences: %s\n", p, n.NarHash, i, i*2, refs)
		if err := cache.Put(t.Context(), layout.NarInfoKey(p), layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	name := func(i int) string { return fmt.Sprintf("%032d-p", i) }
	put(4, strings.Join([]string{name(4), name(9)}, " "))
	put(3, name(4))
	put(2, strings.Join([]string{name(3), name(4)}, " "))
	root, err := seek.Record(t.Context(), cache, put(1, strings.Join([]string{name(2), name(3)}, " ")).Hash(), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	c, err := seek.WalkClosure(t.Context(), cache, root, layout.DefaultStoreDir, 3, &seen)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Paths {
		got = append(got, fmt.Sprintf("%s %d %d", p.Path.Hash()[31:], p.NarSize, p.FileSize))
	}
	if diff := cmp.Diff([]string{"1 1 2", "2 2 4", "3 3 6", "4 4 8"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Missing) != 1 || string(c.Missing[0]) != name(9) || seen.Load() != 4 {
		t.Errorf("missing %q, seen %d", c.Missing, seen.Load())
	}
	if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKeyOf(name(3)[:32]))), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := seek.WalkClosure(t.Context(), cache, root, layout.DefaultStoreDir, 3, nil); err == nil {
		t.Error("a record that cannot be read counts as absent")
	}
}

package fsck_test

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A crowd is a tree of many paths that are all alike.
type crowd struct {
	*treetest.Mem
	n int
}

func (c crowd) hash(i int) string { return fmt.Sprintf("%032d", i) }

func (c crowd) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		if prefix != "" {
			return
		}
		for i := range c.n {
			if !yield(layout.Info{Key: layout.Key(c.hash(i) + ".ls")}, nil) ||
				!yield(layout.Info{Key: layout.Key(c.hash(i) + ".narinfo")}, nil) {
				return
			}
		}
		c.Mem.List(ctx, "n")(yield)
	}
}

// BenchmarkCheck is the quick check of 50,000 paths with ten references each,
// without what it takes to read them.
func BenchmarkCheck(b *testing.B) {
	const n = 50_000
	tree := crowd{treetest.NewMem(nil), n}
	set := func(key layout.Key, text []byte) { tree.Damage(key, func([]byte) []byte { return text }) }
	set(layout.CacheInfoKey, layout.DefaultCacheInfo().Marshal())
	for i := range n {
		nar := layout.Hash{byte(i), byte(i >> 8), byte(i >> 16)}
		record := layout.NarInfo{
			PathInfo:    layout.PathInfo{Path: layout.StorePath(tree.hash(i) + "-some-path-1.0"), NarHash: nar, NarSize: 1000},
			URL:         string(layout.NARKey(nar, ".zst")),
			Compression: "zstd", FileHash: nar, FileSize: 4,
		}
		for r := range min(i, 10) {
			record.References = append(record.References, layout.StorePath(tree.hash(i-10+r+max(0, 10-i))+"-some-path-1.0"))
		}
		set(layout.Key(tree.hash(i)+".narinfo"), record.Marshal(layout.DefaultStoreDir))
		set(layout.Key(tree.hash(i)+".ls"), []byte(`{"root":{"entries":{"bin":{"entries":{"x":{"executable":true,"narOffset":400,"size":100,"type":"regular"}},"type":"directory"}},"type":"directory"},"version":1}`))
		set(layout.Key(record.URL), []byte("file"))
	}
	for b.Loop() {
		if err := fsck.Whole(b.Context(), tree, fsck.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "paths/s")
}

package webdav

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// Readers who ask for one object at once share a look at the tree, and none of them gets
// what was there before a change by this server, or for longer than a moment after another's.
func TestReadersShareALook(t *testing.T) {
	tree := &counted{Tree: treetest.NewMem(t)}
	const fresh = 200 * time.Millisecond
	r := newSiege(t, func(c *Config, _ *inbox.Config) { c.Tree, c.Fresh = tree, fresh })
	info := func(priority int) []byte {
		return fmt.Appendf(nil, "StoreDir: /nix/store\nPriority: %d\n", priority)
	}
	put := func(text []byte) {
		t.Helper()
		if err := tree.Put(t.Context(), layout.CacheInfoKey, layout.Bytes(text), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(text []byte) {
		t.Helper()
		if got := r.do(t, "GET", "/nix-cache-info", nil, alice); got.Body != string(text) {
			t.Errorf("got %q, want %q", got.Body, text)
		}
	}
	put(info(1))
	want(info(1))
	want(info(1))
	begun, before := time.Now(), tree.looks.Load()
	for range 100 {
		want(info(1))
	}
	if looks, most := tree.looks.Load()-before, 2+int64(time.Since(begun)/fresh); looks > most {
		t.Errorf("%d looks for 100 answers", looks)
	}
	put(info(2))
	time.Sleep(fresh)
	want(info(2))
	put(info(3))
	r.do(t, "MKCOL", "/upload/x", nil, alice) // anything that may change the tree
	want(info(3))
}

// A counted tree counts how often it is looked at.
type counted struct {
	layout.Tree
	looks atomic.Int64
}

func (c *counted) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	c.looks.Add(1)
	return c.Tree.Stat(ctx, key)
}

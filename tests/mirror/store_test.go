//go:build real

package mirror_test

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestStoreKilled kills MinIO in the middle of runs, and starts it again. The runs
// wait for it and go on; a reader finds nothing wrong.
func TestStoreKilled(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	exportURL, exported := w.bucket(t)
	top := treetest.Record(t, treetest.OpenDir(t, w.dir), "app").Path
	for _, c := range []struct {
		name string
		tree layout.Tree
		args []string
	}{
		// Slow enough to be met in its middle.
		{"sync", bucket, []string{"sync", "--delete", "--bandwidth", "200kB", w.dir, url}},
		{"export", exported, []string{"export", "--from", w.dir, "--no-check-sigs", "--to", exportURL, string(top)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := readAllTheWhile(t, c.tree)
			for range 3 {
				empty(t, c.tree)
				r := nixtest.Start(t, w.command(t, c.args...))
				time.Sleep(50*time.Millisecond + rand.N(500*time.Millisecond))
				w.store.Kill()
				time.Sleep(rand.N(time.Second))
				w.store.Restart(t)
				r.Wait(t).Want(t, 0)
				whole(t, c.tree)
			}
			stop()
		})
	}
	treetest.Equal(t, treetest.OpenDir(t, w.dir), bucket)
}

// empty removes all of a tree, in the order of kinds.
func empty(t *testing.T, tree layout.Tree) {
	t.Helper()
	for kind := layout.KindCacheInfo; kind >= 0; kind-- {
		if kind == layout.KindNarInfo {
			withdrawAll(t, tree)
		}
		for key := range treetest.Contents(t, tree) {
			if key.Kind() != kind {
				continue
			}
			if err := tree.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// withdrawAll removes the narinfos, none before those that refer to it.
func withdrawAll(t *testing.T, tree layout.Tree) {
	t.Helper()
	left := map[layout.StorePath]*layout.NarInfo{}
	for n := range treetest.Records(t, tree) {
		left[n.Path] = n
	}
	for len(left) > 0 {
		needed := map[layout.StorePath]bool{}
		for _, n := range left {
			for _, ref := range n.References {
				needed[ref] = needed[ref] || ref != n.Path
			}
		}
		for p := range left {
			if needed[p] {
				continue
			}
			if err := tree.Delete(t.Context(), layout.NarInfoKey(p)); err != nil {
				t.Fatal(err)
			}
			delete(left, p)
		}
	}
}

// TestWatchStoreKilled: a watch outlasts its destination, and brings it up to
// date afterwards.
func TestWatchStoreKilled(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	r := nixtest.Start(t, w.command(t, "sync", "--watch", "--delete", "--rescan", "5s", w.dir, url))
	until(t, "the first run", func() bool {
		_, err := bucket.Stat(t.Context(), layout.CacheInfoKey)
		return err == nil
	})
	stop := readAllTheWhile(t, bucket)
	for i, name := range []string{"main_test.go", "store_test.go"} {
		if i == 0 {
			w.store.Kill()
		}
		w.program.Run(t, "add", "--to", w.dir, name).Want(t, 0)
		time.Sleep(3 * time.Second) // it tries meanwhile
		if i > 0 {
			w.store.Kill()
		}
		w.store.Restart(t)
		until(t, name, func() bool { return same(t, treetest.OpenDir(t, w.dir), bucket) })
	}
	r.Signal(t, syscall.SIGTERM)
	r.Wait(t).Want(t, 0)
	stop()
	whole(t, bucket)
}

// TestLine cuts and slows the connections of a run to its store, of one to a
// directory, and of one between two buckets.
func TestLine(t *testing.T) {
	w := newWorld(t)
	l := newLine(t, strings.TrimPrefix(w.store.Endpoint, "http://"))
	through := func(url string) string { return strings.Replace(url, w.store.Endpoint[7:], l.URL[7:], 1) }
	oneURL, one := w.bucket(t)
	twoURL, two := w.bucket(t)
	back := treetest.OpenDir(t, filepath.Join(t.TempDir(), "back"))
	src := treetest.OpenDir(t, w.dir)
	for _, c := range []struct {
		from, to string
		tree     layout.Tree
	}{{w.dir, through(oneURL), one}, {through(oneURL), through(twoURL), two}, {through(twoURL), back.Path(), back}} {
		stop := readAllTheWhile(t, c.tree)
		r := nixtest.Start(t, w.command(t, "sync", "--bandwidth", "200kB", c.from, c.to))
		for i := 0; !r.Ended(); i++ {
			time.Sleep(100*time.Millisecond + rand.N(200*time.Millisecond))
			switch i % 3 {
			case 0:
				l.cut(false)
			case 1:
				l.slow(500 << 10)
			case 2:
				l.cut(true)
				time.Sleep(rand.N(300 * time.Millisecond))
				l.cut(false)
				l.slow(0)
			}
		}
		r.Wait(t).Want(t, 0)
		l.cut(false)
		l.slow(0)
		stop()
		treetest.Equal(t, src, c.tree)
		whole(t, c.tree)
	}
}

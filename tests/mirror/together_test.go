//go:build real

package mirror_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestTwoAtOnce runs mirrors of two caches to one destination at the same time.
// Each removes what the other has brought; a reader finds one or the other, and
// nothing in between.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	dir := treetest.OpenDir(t, filepath.Join(t.TempDir(), "copy"))
	less := lessOf(t, w)
	for to, tree := range map[string]layout.Tree{url: bucket, dir.Path(): dir} {
		w.sync(t, w.dir, to)
		stop := readAllTheWhile(t, tree)
		for range 3 {
			var runs []*nixtest.Running
			for _, from := range []string{w.dir, less} {
				runs = append(runs, nixtest.Start(t, w.command(t, "sync", "--delete", from, to)))
			}
			waited := 0
			for _, r := range runs {
				if strings.Contains(r.Wait(t).Want(t, 0).Stderr, "waiting for process ") {
					waited++
				}
			}
			if !same(t, tree, treetest.OpenDir(t, w.dir)) && !same(t, tree, treetest.OpenDir(t, less)) {
				t.Error("the destination is like neither source")
			}
			t.Logf("%d waited for the other", waited)
		}
		stop()
		whole(t, tree)
	}
}

// TestSourceMoves mirrors a directory whose paths come and go, and whose page is
// replaced.
func TestSourceMoves(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	w.sync(t, w.dir, url)
	src, before := treetest.OpenDir(t, w.dir), treetest.NewMem(nil)
	for key, text := range treetest.Contents(t, src) {
		treetest.PutText(t, before, key, text)
	}
	stopReading := readAllTheWhile(t, bucket)
	ended := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			for _, name := range []string{"app", "env", "lib"} {
				treetest.Withdraw(t, src, name)
			}
			treetest.PutText(t, src, "index.html", strings.Repeat("x", n%3))
			for key, text := range treetest.Contents(t, before) {
				if _, err := src.Stat(t.Context(), key); errors.Is(err, fs.ErrNotExist) && key.Kind() != layout.KindNarInfo {
					treetest.PutText(t, src, key, text)
				}
			}
			for _, name := range []string{"lib", "env", "app"} {
				n := treetest.Record(t, before, name)
				treetest.PutText(t, src, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
			}
			select {
			case <-ended:
				return
			default:
			}
		}
	})
	for range 10 {
		r := nixtest.Wait(t, w.command(t, "sync", "--delete", w.dir, url))
		if r.Code != 0 {
			r.Refused(t, "could not be mirrored") // it never held still
		}
	}
	close(ended)
	writer.Wait()
	stopReading()
	w.sync(t, "--delete", w.dir, url)
	treetest.Equal(t, src, bucket)
	whole(t, bucket)
}

// TestProvisions mirrors a cache that leans on an upstream into a bucket,
// another bucket and a directory, each of which proves itself whole.
func TestProvisions(t *testing.T) {
	w := newWorld(t)
	key, err := signer.Generate("upstream-1")
	if err != nil {
		t.Fatal(err)
	}
	src := treetest.OpenDir(t, w.dir)
	treetest.LeanOn(t, src, key, "flat", "source")
	oneURL, one := w.bucket(t)
	twoURL, two := w.bucket(t)
	back := treetest.OpenDir(t, filepath.Join(t.TempDir(), "back"))
	for _, c := range []struct {
		from, to string
		tree     layout.Tree
	}{{w.dir, oneURL, one}, {oneURL, twoURL, two}, {twoURL, back.Path(), back}} {
		w.sync(t, c.from, c.to)
		treetest.Equal(t, src, c.tree)
		nixtest.Wait(t, w.command(t, "verify", "--deep", c.to)).Want(t, 0)
		if r := w.sync(t, "--delete", c.from, c.to); !strings.Contains(r.Stderr, ": 0 objects copied") {
			t.Errorf("nothing to do from %s to %s: %s", c.from, c.to, r.Stderr)
		}
	}
}

//go:build real

package mirror_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestFromServe mirrors what our own server gives out, from a directory and from
// a bucket.
func TestFromServe(t *testing.T) {
	w := newWorld(t)
	w.syncFrom(t, w.serve(t, w.dir, "--read-only"), w.dir)
	bucketURL, bucket := w.bucket(t)
	w.sync(t, w.dir, bucketURL)
	copied := filepath.Join(t.TempDir(), "copied")
	w.sync(t, w.serve(t, bucketURL, "--read-only"), copied)
	treetest.Equal(t, bucket, treetest.OpenDir(t, copied))
}

// TestFromBehindProxy mirrors a cache through a proxy that takes a prefix from the
// path, so that the server which lists the cache knows nothing of it.
func TestFromBehindProxy(t *testing.T) {
	w := newWorld(t)
	backend := w.serve(t, w.dir, "--read-only")
	front := nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf("server { listen %s; location /sub/ { proxy_pass %s/; } }", address, strings.TrimSuffix(backend, "/"))
	})
	w.syncFrom(t, front.URL+"/sub", w.dir)
}

// syncFrom mirrors a cache behind a web server, which has its files in dir.
func (w *world) syncFrom(t *testing.T, url, dir string) {
	t.Helper()
	src := treetest.OpenDir(t, dir)
	copied := filepath.Join(t.TempDir(), "copied")
	w.sync(t, url, copied)
	treetest.Equal(t, src, treetest.OpenDir(t, copied))
	whole(t, treetest.OpenDir(t, copied))
	if r := w.sync(t, url, copied); !strings.Contains(r.Stderr, ": 0 objects copied") {
		t.Errorf("nothing to do: %s", r.Stderr)
	}
	bucketURL, bucket := w.bucket(t)
	w.sync(t, url, bucketURL)
	treetest.Equal(t, src, bucket)

	treetest.Withdraw(t, src, "app")
	treetest.PutText(t, src, "index.html", "from "+dir)
	w.sync(t, "--delete", url, copied)
	treetest.Equal(t, src, treetest.OpenDir(t, copied))
	whole(t, treetest.OpenDir(t, copied))
}

// TestFromPlainServer: nginx gives out files and does not list them. Closures
// can be had from it, if a trusted key vouches for them.
func TestFromPlainServer(t *testing.T) {
	w := newWorld(t)
	url := serveDAV(t, filepath.Dir(w.dir), "on") + "/cache"
	copied := filepath.Join(t.TempDir(), "copied")
	r := nixtest.Wait(t, w.command(t, "sync", url, copied))
	wantHint(t, r.Refused(t, "it cannot be listed"), "/nix/store/")
	if _, err := os.Lstat(copied); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the destination was touched: %v", err)
	}
	app := treetest.Record(t, treetest.OpenDir(t, w.dir), "app").Path
	r = nixtest.Wait(t, w.command(t, "sync", url, copied, app.Abs(layout.DefaultStoreDir)))
	wantHint(t, r.Refused(t, "lib"), "--trusted-public-key")

	key := w.program.NewKey(t, "mirror-1")
	if r := nixtest.Wait(t, w.program.Command(t, "sign", w.dir, "-k", key.File)); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	bucketURL, bucket := w.bucket(t)
	for to, tree := range map[string]layout.Tree{copied: treetest.OpenDir(t, copied), bucketURL: bucket} {
		r := w.sync(t, "--trusted-public-key", key.Public, url, to, app.Abs(layout.DefaultStoreDir))
		if !strings.Contains(r.Stderr, "4 paths written to "+to+" (") {
			t.Error(r.Stderr)
		}
		if _, err := tree.Stat(t.Context(), layout.NarInfoKey(app)); err != nil {
			t.Error(err)
		}
		whole(t, tree)
	}
	w.sync(t, "--trusted-public-key", key.Public, "--dry-run", "--json", url, copied, app.Abs(layout.DefaultStoreDir))

	// A tree for another store is none for these paths.
	other := filepath.Join(t.TempDir(), "other")
	treetest.PutText(t, treetest.OpenDir(t, other), layout.CacheInfoKey, "StoreDir: /other/store\n")
	nixtest.Wait(t, w.command(t, "sync", "--no-check-sigs", url, other, app.Abs(layout.DefaultStoreDir))).Refused(t, "/other/store")
}

package export

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// eachReader runs a test against a cache in a tree, and against the same cache
// behind HTTP.
func eachReader(t *testing.T, tree *treetest.Mem, test func(*testing.T, *Cache)) {
	t.Run("tree", func(t *testing.T) { test(t, newCache(t, tree)) })
	t.Run("HTTP", func(t *testing.T) {
		h := openHTTP(t, webtest.Serve(t, webtest.TreeServer(tree)).URL, httpcache.Options{})
		test(t, newCache(t, h))
	})
}

func newCache(t *testing.T, r layout.Reader) *Cache {
	t.Helper()
	c, err := NewCache(t.Context(), r, CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func paths(closure *treetest.Paths) (list []layout.StorePath) {
	for _, p := range closure.Paths {
		list = append(list, p.Info.Path)
	}
	return list
}

func writeNAR(c *Cache, p layout.StorePath) ([]byte, error) {
	var b bytes.Buffer
	err := c.WriteNAR(context.Background(), p, &b)
	return b.Bytes(), err
}

func TestCache(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	absent := layout.StorePath("00000000000000000000000000000000-absent")
	eachReader(t, tree, func(t *testing.T, c *Cache) {
		if c.StoreDir() != layout.DefaultStoreDir || c.CacheInfo() != layout.DefaultCacheInfo() {
			t.Errorf("it is %+v", c.CacheInfo())
		}
		infos, err := c.Infos(t.Context(), paths(closure))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range closure.Paths {
			if diff := cmp.Diff(p.Info, infos[i]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", p.Info.Path, diff)
			}
			got, err := writeNAR(c, p.Info.Path)
			if err != nil || !bytes.Equal(got, p.NAR) {
				t.Errorf("NAR of %s: %d bytes, want %d, %v", p.Info.Path, len(got), len(p.NAR), err)
			}
			file, n, err := c.File(t.Context(), p.Info.Path)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := io.ReadAll(file)
			if err := errors.Join(err, file.Close()); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(p.Info, n.PathInfo); diff != "" || int64(len(stored)) != n.FileSize {
				t.Errorf("file of %s has %d bytes, its narinfo says %d; narinfo:\n%s", p.Info.Path, len(stored), n.FileSize, diff)
			}
		}
		_, err = c.Infos(t.Context(), []layout.StorePath{closure.Paths[0].Info.Path, absent})
		webtest.WantError(t, err, "read narinfo of /nix/store/"+string(absent))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent path: %v", err)
		}
		if _, err := writeNAR(c, absent); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("NAR of an absent path: %v", err)
		}
		if _, _, err := c.File(t.Context(), absent); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("file of an absent path: %v", err)
		}
	})
}

// TestCacheOperations counts: one record and one NAR for each path, though each
// is asked for twice.
func TestCacheOperations(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	c := newCache(t, tree)
	tree.Counts()
	if _, err := c.Infos(t.Context(), paths(closure)); err != nil {
		t.Fatal(err)
	}
	for _, p := range closure.Paths {
		if _, err := writeNAR(c, p.Info.Path); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := tree.Counts(), (treetest.Counts{Get: 2 * len(closure.Paths)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestCacheRequestsAtOnce(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	var now, most atomic.Int64
	full := make(chan struct{})
	inner := webtest.TreeServer(tree)
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".narinfo") {
			n := now.Add(1)
			defer now.Add(-1)
			if most.Store(max(most.Load(), n)); n == 3 {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			select { // the first three wait for each other
			case <-full:
			case <-r.Context().Done():
			}
		}
		inner(w, r)
	})
	h := openHTTP(t, s.URL, httpcache.Options{})
	c, err := NewCache(t.Context(), h, CacheOptions{Requests: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Infos(t.Context(), paths(closure)); err != nil {
		t.Fatal(err)
	}
	if most.Load() > 3 {
		t.Errorf("%d requests at once, want 3", most.Load())
	}
}

func TestCacheCancel(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	inner := webtest.TreeServer(tree)
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".narinfo") {
			<-r.Context().Done()
			return
		}
		inner(w, r)
	})
	h := openHTTP(t, s.URL, httpcache.Options{})
	c := newCache(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.Infos(ctx, paths(closure)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.Infos(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	if err := newCache(t, tree).WriteNAR(ctx, closure.Named("app").Info.Path, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled NAR: %v", err)
	}
}

func TestNewCacheRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"file does not exist":             "",
		"not a number":                    "Priority: high\n",
		"not the description of a binary": "hello\n",
		"store directory":                 "StoreDir: nix/store\n",
	} {
		tree := treetest.NewMem(nil)
		if text != "" {
			tree.Damage(layout.CacheInfoKey, func([]byte) []byte { return []byte(text) })
		}
		_, err := NewCache(t.Context(), tree, CacheOptions{})
		webtest.WantError(t, err, name)
	}
}

package webdav

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// A Nix sends everything in order, and all of it is there afterwards; a second
// time changes nothing.
func TestUploadByNix(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	order := []layout.Key{}
	for _, p := range paths.Paths { // references first
		text, err := os.ReadFile(filepath.Join(dir, string(layout.NarInfoKey(p.Info.Path))))
		if err != nil {
			t.Fatal(err)
		}
		record, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, layout.ListingKey(p.Info.Path), layout.Key(record.URL), layout.NarInfoKey(p.Info.Path))
	}
	for i, want := range [][]int{{201, 204}, {204, 201}} { // two paths may have one NAR
		for _, key := range order {
			if got := r.put(t, dir, key, newNix); !slices.Contains(want, got.Status) || got.Body != "" {
				t.Errorf("PUT %s, time %d: %d %s", key, i+1, got.Status, got.Body)
			}
		}
	}
	for _, key := range order {
		for _, path := range []string{"/", "/upload/"} {
			if got := r.do(t, "HEAD", path+string(key), nil, newNix); got.Status != 200 {
				t.Errorf("HEAD %s%s: %d", path, key, got.Status)
			}
		}
	}
	if got := r.do(t, "PUT", "/upload/nix-cache-info", strings.NewReader("StoreDir: /nix/store\n"), oldNix); got.Status != 204 {
		t.Errorf("PUT of a nix-cache-info: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil); !strings.Contains(got.Body, "WantMassQuery") {
		t.Errorf("the nix-cache-info of the tree was replaced: %q", got.Body)
	}
	r.whole(t)
}

// A program that copies files sends them in any order, several at a time. Until
// nothing is missing readers see none of it.
func TestUploadInAnyOrder(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	keys := keysOf(t, dir)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	app := layout.NarInfoKey(paths.Named("app").Info.Path)
	if got := r.put(t, dir, app); got.Status != 201 {
		t.Fatalf("a narinfo that comes first: %d %s", got.Status, got.Body)
	}
	for path, want := range map[string]int{"/": 404, "/upload/": 200} {
		if got := r.do(t, "GET", path+string(app), nil); got.Status != want {
			t.Errorf("GET %s of a narinfo that is held: %d, want %d", path, got.Status, want)
		}
	}
	if got := r.do(t, "GET", "/upload/"+string(app), nil, newNix); got.Status != 404 {
		t.Errorf("a Nix is told of a narinfo that is held: %d", got.Status)
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(keys, (len(keys)+3)/4) {
		wg.Go(func() {
			for _, key := range part {
				if got := r.put(t, dir, key); got.Status != 201 && got.Status != 204 {
					t.Errorf("PUT %s: %d %s", key, got.Status, got.Body)
				}
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if got := r.do(t, "HEAD", "/"+string(key), nil); got.Status != 200 && key.Kind() != layout.KindCacheInfo {
			t.Errorf("%s is not there: %d", key, got.Status)
		}
	}
	r.whole(t)
}

// The names of logs arrive in three spellings.
func TestLogNames(t *testing.T) {
	r := newRig(t, nil)
	hash := strings.Repeat("0", 32)
	for path, keys := range map[string][]string{
		"/upload/log/" + hash + "-a+b.drv":        {hash + "-a+b.drv"},
		"/upload/log/" + hash + "-c%2Bd.drv":      {hash + "-c+d.drv"},
		"/upload/log/" + hash + "-we?ird=x+1.drv": {hash + "-we?ird=x+1.drv", hash + "-we"},
		"/upload/log/" + hash + "-is%3Fit.drv":    {hash + "-is?it.drv", hash + "-is"},
	} {
		if got := r.do(t, "PUT", path, strings.NewReader("said "+path), oldNix); got.Status != 201 {
			t.Errorf("PUT %s: %d %s", path, got.Status, got.Body)
		}
		for _, key := range keys {
			if text, err := os.ReadFile(filepath.Join(r.dir, "log", key)); err != nil || string(text) != "said "+path {
				t.Errorf("PUT %s: %s holds %q, %v", path, key, text, err)
			}
		}
		if got := r.do(t, "GET", strings.TrimPrefix(path, "/upload"), nil); got.Body != "said "+path {
			t.Errorf("GET %s: %d %q", path, got.Status, got.Body)
		}
	}
}

// With one URL for all, uploads and readers get along.
func TestOneURL(t *testing.T) {
	dir, _ := example(t)
	for _, prefix := range []string{"/", "//", "/cache/of/ours", "push"} {
		r := newRig(t, func(c *Config, _ *inbox.Config) { c.UploadPrefix = prefix })
		at := "/" + strings.Trim(prefix, "/") + "/"
		if at == "//" {
			at = "/"
		}
		for _, key := range keysOf(t, dir) {
			text, err := os.ReadFile(filepath.Join(dir, string(key)))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.do(t, "PUT", at+string(key), bytes.NewReader(text)); got.Status != 201 && got.Status != 204 {
				t.Errorf("%q: PUT %s: %d %s", prefix, key, got.Status, got.Body)
			}
			if got := r.do(t, "GET", "/"+string(key), nil); got.Status == 200 && got.Header.Get("Cache-Control") != key.Kind().CacheControl() {
				t.Errorf("%q: GET %s: %s", prefix, key, got.Header.Get("Cache-Control"))
			}
		}
		r.whole(t)
	}
}

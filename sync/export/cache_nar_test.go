package export

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestCacheNARs edits the record's way to the NAR, and the NAR.
func TestCacheNARs(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	p := closure.Named("app")
	key := layout.NarInfoKey(p.Info.Path)
	n := record(t, tree, key)
	nar, err := n.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	narSize := fmt.Sprintf("NarSize: %d", n.NarSize)
	inTree := func(path string) func(*treetest.Mem) {
		return func(tree *treetest.Mem) {
			data, err := webtest.Get(t.Context(), tree, nar)
			if err != nil {
				t.Fatal(err)
			}
			tree.Damage(layout.Key(path), func([]byte) []byte { return data })
		}
	}
	for _, test := range []struct {
		name     string
		from, to string
		prepare  func(*treetest.Mem)
		fails    string // WriteNAR; "" for none
	}{
		{"with a query", string(nar), string(nar) + "?hash=abc", nil, ""},
		{"escaped", "nar/", "n%61r/", nil, ""},
		{"taken literally first", string(nar), "nar/a%2Bb?c", inTree("nar/a%2Bb?c"), ""},
		{"nested", string(nar), "nar/ab/x.nar", inTree("nar/ab/x.nar"), ""},
		{"out of the cache", "nar/", "../nar/", nil, "leads out of the cache"},
		{"out of the tree, escaped", "nar/", "%2e%2e/nar/", nil, "leads out of the cache"},
		{"a file", "nar/", "file:///nar/", nil, "leads out of the cache"},
		{"private", string(nar), ".nixstatic/x", inTree(".nixstatic/x"), ".nixstatic"},
		{"gone", "", "", func(tree *treetest.Mem) { tree.Damage(nar, func([]byte) []byte { return nil }) }, "file does not exist"},
		{"longer than it says", narSize, "NarSize: 1000", nil, "more than the 1000 bytes of its narinfo"},
		{"shorter than it says", narSize, "NarSize: 1000000", nil, "its narinfo says 1000000"},
		{"other compression", "Compression: zstd", "Compression: xz", nil, "corrupt"},
		{"a wrong FileSize is met in the wild", fmt.Sprintf("FileSize: %d", n.FileSize), "FileSize: 12", nil, ""},
		{"cut off", "", "", func(tree *treetest.Mem) { tree.Damage(nar, func(b []byte) []byte { return b[:len(b)-10] }) }, "corrupt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := tree.Clone(nil)
			bad.Damage(key, func(text []byte) []byte { return bytes.Replace(text, []byte(test.from), []byte(test.to), 1) })
			if test.prepare != nil {
				test.prepare(bad)
			}
			c := newCache(t, bad)
			got, err := writeNAR(c, p.Info.Path)
			if test.fails != "" {
				webtest.WantError(t, err, "NAR of /nix/store/"+string(p.Info.Path), test.fails)
			} else if err != nil || !bytes.Equal(got, p.NAR) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func record(t *testing.T, r layout.Reader, key layout.Key) *layout.NarInfo {
	t.Helper()
	text, err := webtest.Get(t.Context(), r, key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := layout.ParseNarInfo(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCacheEndlessNAR has servers that never stop.
func TestCacheEndlessNAR(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	p := closure.Named("builder.sh").Info.Path
	// A frame of zstd that decoders skip: input without an end that yields none.
	skip := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 1<<16)...)
	for name, piece := range map[string][]byte{"zeros": make([]byte, 1<<16), "frames to skip": skip} {
		t.Run(name, func(t *testing.T) {
			serveTree := webtest.TreeServer(tree)
			s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/nar/") {
					serveTree(w, r)
					return
				}
				for r.Context().Err() == nil {
					if _, err := w.Write(piece); err != nil {
						return
					}
				}
			})
			h := openHTTP(t, s.URL, httpcache.Options{})
			c := newCache(t, h)
			file, _, err := c.File(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got, err := io.Copy(io.Discard, file)
			webtest.WantError(t, err, "far larger than its narinfo says")
			if got > 2<<20 {
				t.Errorf("gave %d bytes", got)
			}
			if _, err := writeNAR(c, p); err == nil {
				t.Error("wrote it")
			}
		})
	}
}

// TestCacheForeignNAR has a narinfo with a whole URL, which only HTTP follows.
func TestCacheForeignNAR(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	p := closure.Named("lib")
	elsewhere := webtest.Serve(t, webtest.TreeServer(tree.Clone(nil)))
	key := layout.NarInfoKey(p.Info.Path)
	tree.Damage(key, func(text []byte) []byte {
		return bytes.Replace(text, []byte("URL: "), []byte("URL: "+elsewhere.URL+"/"), 1)
	})
	h := openHTTP(t, webtest.WithUser(t, webtest.Serve(t, webtest.TreeServer(tree)).URL, "me", "s3cret"), httpcache.Options{})
	if got, err := writeNAR(newCache(t, h), p.Info.Path); err != nil || !bytes.Equal(got, p.NAR) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if a := elsewhere.Asked(); len(a) != 1 || a[0].Header.Get("Authorization") != "" {
		t.Errorf("%d requests elsewhere, or credentials", len(a))
	}
	_, err := writeNAR(newCache(t, tree), p.Info.Path)
	webtest.WantError(t, err, "leads out of the cache")
}

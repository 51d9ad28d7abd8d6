package webdav

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// A client of ours asks what is missing, and sends that unless it is there. An object
// that is there and of no use must not keep the client's own out.
func TestConditionsMend(t *testing.T) {
	dir, _ := example(t)
	strict, absent := "Prefer: handling=strict", "If-None-Match: *"
	spoil := map[string]func(t *testing.T, tree string, record layout.Key, nar layout.Key){
		"NAR cut": func(t *testing.T, tree string, _, nar layout.Key) {
			if err := os.Truncate(filepath.Join(tree, string(nar)), 20); err != nil {
				t.Fatal(err)
			}
		},
		"record changed": func(t *testing.T, tree string, record, _ layout.Key) {
			file := filepath.Join(tree, string(record))
			text, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, []byte(strings.Replace(string(text), "NarSize: ", "NarSize: 1", 1)), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range spoil {
		r := newRig(t, nil)
		for _, folder := range []bool{true, false} {
			for _, key := range keysOf(t, dir) {
				if nar := key.Kind() == layout.KindNAR; nar == folder && (nar || key.Kind() == layout.KindNarInfo) {
					r.do(t, "PUT", "/upload/"+string(key), bodyOf(t, dir, key))
				}
			}
		}
		for _, key := range keysOf(t, dir) {
			if key.Kind() != layout.KindNarInfo {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, string(key)))
			if err != nil {
				t.Fatal(err)
			}
			n, err := layout.ParseNarInfo(text, "")
			if err != nil {
				t.Fatal(err)
			}
			nar, err := n.NARKey()
			if err != nil || n.FileSize < 30 {
				t.Fatal(n.FileSize, err)
			}
			damage(t, r.dir, key, nar)
			if got := r.do(t, "POST", "/upload/?missing", strings.NewReader(key.PathHash()+"\n")); !strings.Contains(got.Body, key.PathHash()) {
				t.Errorf("%s: %s is not asked for: %d %s", name, key, got.Status, got.Body)
			}
			for _, key := range []layout.Key{nar, key} {
				if got := r.do(t, "PUT", "/upload/"+string(key), bodyOf(t, dir, key), strict, absent); got.Status >= 300 && got.Status != 412 {
					t.Errorf("%s: PUT %s: %d %s", name, key, got.Status, got.Body)
				}
			}
		}
		r.whole(t)
	}
}

// A program that is not strict sees what it sent. Such an object has a version, and the
// program may say that it replaces that one.
func TestWhatWasSentHasAVersion(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	for _, key := range keysOf(t, dir) {
		if key.Kind() == layout.KindNAR {
			r.do(t, "PUT", "/upload/"+string(key), bodyOf(t, dir, key))
		}
	}
	for _, p := range paths.Paths {
		key := layout.NarInfoKey(p.Info.Path)
		url := "/upload/" + string(key)
		if got := r.do(t, "PUT", url, bodyOf(t, dir, key)); got.Status != 201 {
			t.Fatalf("PUT %s: %d %s", url, got.Status, got.Body)
		}
		etag := r.do(t, "GET", url, nil).Header.Get("Etag")
		if etag == "" || etag == r.do(t, "GET", "/"+string(key), nil).Header.Get("Etag") {
			t.Errorf("%s: what was sent has the version %q", key, etag)
		}
		if got := r.do(t, "PUT", url, bodyOf(t, dir, key), "If-Match: "+etag); got.Status != 204 {
			t.Errorf("PUT %s over that version: %d %s", url, got.Status, got.Body)
		}
		if got := r.do(t, "PUT", url, bodyOf(t, dir, key), `If-Match: "another"`); got.Status != 412 {
			t.Errorf("PUT %s over another version: %d %s", url, got.Status, got.Body)
		}
	}
}

// bodyOf opens an object of a cache on disk.
func bodyOf(t *testing.T, dir string, key layout.Key) io.Reader {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, string(key)))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(text)
}

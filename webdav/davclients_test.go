package webdav

import (
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// exampleFiles yields the files of a tree that an uploading client copies, in the
// order of their keys.
func exampleFiles(t *testing.T) iter.Seq2[layout.Key, string] {
	dir, _ := example(t)
	return func(yield func(layout.Key, string) bool) {
		for _, key := range keysOf(t, dir) {
			if key == layout.CacheInfoKey {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, string(key)))
			if err != nil {
				t.Fatal(err)
			}
			if !yield(key, string(text)) {
				return
			}
		}
	}
}

// TestFinder copies files as Finder does: an empty file, a lock, the bytes in
// chunks, and the same for the file that holds its own notes.
func TestFinder(t *testing.T) {
	r := newRig(t, nil)
	for key, text := range exampleFiles(t) {
		name := "/upload/" + string(key)
		beside := path.Dir(name) + "/._" + path.Base(name)
		for _, file := range []struct {
			name, text string
		}{{name, text}, {beside, "\x00\x05\x16\x07 notes"}} {
			if got := r.do(t, "PROPFIND", file.name, nil, "Depth: 0"); got.Status != 404 && got.Status != 207 {
				t.Errorf("PROPFIND %s: %d", file.name, got.Status)
			}
			if got := r.do(t, "PUT", file.name, nil); got.Status != 201 && got.Status != 204 {
				t.Errorf("an empty PUT %s: %d %s", file.name, got.Status, got.Body)
			}
			token := r.lock(t, file.name, 200)
			chunked := io.MultiReader(strings.NewReader(file.text[:len(file.text)/2]), strings.NewReader(file.text[len(file.text)/2:]))
			if got := r.do(t, "PUT", file.name, chunked, "If: ("+token+")", fmt.Sprint("X-Expected-Entity-Length: ", len(file.text))); got.Status != 201 && got.Status != 204 {
				t.Errorf("PUT %s: %d %s", file.name, got.Status, got.Body)
			}
			got := r.propfind(t, file.name, "0", "")
			if !slices.Contains(got.props(0, "200"), fmt.Sprint("getcontentlength=", len(file.text))) {
				t.Errorf("PROPFIND %s: %q, want %d bytes", file.name, got.props(0, "200"), len(file.text))
			}
			if got := r.do(t, "UNLOCK", file.name, nil, "Lock-Token: "+token); got.Status != 204 {
				t.Errorf("UNLOCK %s: %d", file.name, got.Status)
			}
		}
		if got := r.do(t, "GET", beside, nil); got.Status != 200 || !strings.Contains(got.Body, "notes") {
			t.Errorf("GET %s: %d %q", beside, got.Status, got.Body)
		}
		if got := r.do(t, "DELETE", beside, nil); got.Status != 204 {
			t.Errorf("DELETE %s: %d", beside, got.Status)
		}
		if got := r.do(t, "GET", "/"+strings.TrimPrefix(beside, "/upload/"), nil); got.Status != 404 {
			t.Errorf("readers see %s: %d", beside, got.Status)
		}
	}
	r.whole(t)
}

// TestExplorer copies files as Explorer does: an empty file, a lock, times, a
// HEAD, the bytes, times.
func TestExplorer(t *testing.T) {
	r := newRig(t, nil)
	times := `<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>` +
		`<Z:Win32CreationTime>Mon, 23 Nov 2026 07:00:00 GMT</Z:Win32CreationTime><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>`
	for key, text := range exampleFiles(t) {
		name := "/upload/" + string(key)
		r.do(t, "PUT", name, nil)
		token := r.lock(t, name, 200)
		for range 2 {
			got := r.do(t, "PROPPATCH", name, strings.NewReader(times), "If: ("+token+")")
			if got.Status != 207 || !strings.Contains(got.Body, "HTTP/1.1 200 OK") || strings.Contains(got.Body, "HTTP/1.1 4") {
				t.Errorf("PROPPATCH %s: %d %s", name, got.Status, got.Body)
			}
			if got := r.do(t, "HEAD", name, nil); got.Status != 200 {
				t.Errorf("HEAD %s: %d", name, got.Status)
			}
			if got := r.do(t, "PUT", name, strings.NewReader(text), "If: ("+token+")"); got.Status != 201 && got.Status != 204 {
				t.Errorf("PUT %s: %d %s", name, got.Status, got.Body)
			}
		}
		r.do(t, "UNLOCK", name, nil, "Lock-Token: "+token)
	}
	other := strings.ReplaceAll(times, "urn:schemas-microsoft-com:", "u:x")
	if got := r.do(t, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(other)); got.Status != 207 || !strings.Contains(got.Body, "HTTP/1.1 403") {
		t.Errorf("PROPPATCH of something else: %d %s", got.Status, got.Body)
	}
	for _, name := range []string{"desktop.ini", "nar/Thumbs.db"} {
		if got := r.do(t, "PUT", "/upload/"+name, strings.NewReader("x")); got.Status != 201 {
			t.Errorf("PUT %s: %d", name, got.Status)
		}
	}
	r.whole(t)
}

// TestLockFirst copies files as davfs2 does: a lock makes the file, the bytes
// follow when it is closed.
func TestLockFirst(t *testing.T) {
	r := newRig(t, nil)
	for key, text := range exampleFiles(t) {
		name := "/upload/" + string(key)
		token := r.lock(t, name, 201)
		if got := r.do(t, "HEAD", "/"+string(key), nil); got.Status != 404 {
			t.Errorf("readers see an empty %s: %d", key, got.Status)
		}
		if got := r.do(t, "PUT", name, strings.NewReader(text)); got.Status != 423 {
			t.Errorf("PUT %s by another: %d", name, got.Status)
		}
		if got := r.do(t, "PUT", name, strings.NewReader(text), "If: <"+r.URL+name+"> ("+token+")"); got.Status != 201 && got.Status != 204 {
			t.Errorf("PUT %s: %d %s", name, got.Status, got.Body)
		}
		r.do(t, "UNLOCK", name, nil, "Lock-Token: "+token)
	}
	r.whole(t)
}

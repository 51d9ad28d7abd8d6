package httpcache_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

func openDAV(t *testing.T, s *webtest.DAV) *httpcache.WebDAV {
	t.Helper()
	d, err := httpcache.OpenWebDAV(t.Context(), s.URL+webtest.DAVPrefix, httpcache.Options{Netrc: noNetrc(t), Attempts: 2, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func noNetrc(t *testing.T) string {
	name := t.TempDir() + "/netrc"
	writeFile(t, name, "")
	return name
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestWebDAVList: a server lists what its directory does.
func TestWebDAVList(t *testing.T) {
	s := webtest.ServeDAV(t)
	d := openDAV(t, s)
	writeFile(t, s.Dir.Path()+"/beside/a/file", "a web site")
	type file struct {
		Key  layout.Key
		Size int64
	}
	list := func(tree layout.Lister, prefix string) (files []file) {
		for info, err := range tree.List(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if info.Key.Kind() != layout.KindForeign {
				files = append(files, file{info.Key, info.Size})
			}
		}
		return files
	}
	for _, prefix := range []string{"", "nar/", "nar", "n", "log/", "realisations/", "build-trace-v2/d", "none/", "index.html", "..", "../", "/", "nar/../nar/"} {
		want := list(s.Dir, prefix)
		if diff := cmp.Diff(want, list(d, prefix)); diff != "" {
			t.Errorf("List %q (-want +got):\n%s", prefix, diff)
		}
		if prefix == "" && len(want) < 20 {
			t.Fatalf("%d files are no test", len(want))
		}
	}
	entries := func(tree layout.TopLister) (names []string) {
		for e, err := range tree.ListTop(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, string(e.Key)+e.Folder)
		}
		return names
	}
	if diff := cmp.Diff(entries(s.Dir), entries(d)); diff != "" {
		t.Errorf("ListTop (-want +got):\n%s", diff)
	}
	for info, err := range d.List(t.Context(), "") {
		if got, statErr := d.Stat(t.Context(), info.Key); err != nil || statErr != nil || got.Size != info.Size || got.ETag != info.ETag || got.ETag == "" {
			t.Errorf("List has %+v, Stat %+v, %v, %v", info, got, err, statErr)
		}
	}
}

// TestNotListable: a server without WebDAV is told from one that is out of
// order.
func TestNotListable(t *testing.T) {
	for code, listable := range map[int]bool{200: false, 301: false, 400: false, 401: true, 403: false, 404: false, 405: false, 500: true, 501: false, 503: true} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if code == 301 && r.URL.Path == "/" {
					http.Redirect(w, r, "/elsewhere", code)
					return
				}
				w.WriteHeader(max(code, 200))
				fmt.Fprint(w, "<!doctype html>hello")
			}))
			defer s.Close()
			_, err := httpcache.OpenWebDAV(t.Context(), s.URL, httpcache.Options{Netrc: noNetrc(t), Attempts: 2, RetryDelay: time.Millisecond})
			if err == nil || errors.Is(err, layout.ErrNotListable) == listable {
				t.Errorf("%v", err)
			}
		})
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusMultiStatus)
		fmt.Fprint(w, "<html/>")
	}))
	defer s.Close()
	if _, err := httpcache.OpenWebDAV(t.Context(), s.URL, httpcache.Options{Netrc: noNetrc(t)}); !errors.Is(err, layout.ErrNotListable) {
		t.Error(err)
	}
}

// TestWebDAVBreaksOff: half an answer does not count as a folder.
func TestWebDAVBreaksOff(t *testing.T) {
	s := webtest.ServeDAV(t)
	d := openDAV(t, s)
	var keys []layout.Key
	var tries int
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries <= 2 { // the first is the question of OpenWebDAV
			s.Config.Handler.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		s.Config.Handler.ServeHTTP(rec, r)
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	}))
	defer cut.Close()
	for info, err := range d.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	broken, err := httpcache.OpenWebDAV(t.Context(), cut.URL+webtest.DAVPrefix, httpcache.Options{Netrc: noNetrc(t), Attempts: 2, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var got []layout.Key
	for info, e := range broken.List(t.Context(), "") {
		if err = e; err == nil {
			got = append(got, info.Key)
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a listing that broke off: %v", err)
	}
	if len(got) >= len(keys) || !slices.Equal(got, keys[:len(got)]) {
		t.Errorf("%d keys, want fewer than %d", len(got), len(keys))
	}
}

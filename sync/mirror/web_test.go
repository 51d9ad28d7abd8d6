package mirror_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestMirrorFromWebDAV: with nothing to do, a folder costs one request.
func TestMirrorFromWebDAV(t *testing.T) {
	s := webtest.ServeDAV(t)
	d, err := httpcache.OpenWebDAV(t.Context(), s.URL+webtest.DAVPrefix, httpcache.Options{Netrc: webtest.NoCredentials(t), Attempts: 2, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	dst := treetest.OpenDir(t, t.TempDir()+"/copy")
	m := &mirror.Mirror{Source: d, Dest: dst, Delete: true, State: t.TempDir() + "/state"}
	mustRun(t, m)
	treetest.Equal(t, s.Dir, dst)
	mustRun(t, m) // it is remembered what is equal
	s.Take()
	mustRun(t, m)
	if got := s.Take(); len(got) != 1 || got["PROPFIND"] > 8 {
		t.Errorf("nothing to do: %v", got)
	}
	treetest.Withdraw(t, s.Dir, "app")
	treetest.PutText(t, s.Dir, "index.html", "another page")
	mustRun(t, m)
	treetest.Equal(t, s.Dir, dst)
	whole(t, dst)

	// An object that a server refuses to tell of is not absent: nothing goes
	// (I5).
	for _, code := range []int{http.StatusForbidden, http.StatusInternalServerError, http.StatusUnauthorized, http.StatusOK} {
		s.Failing(func(r *http.Request) int {
			if r.Method == "PROPFIND" && strings.HasSuffix(r.URL.Path, "/nar/") {
				return code
			}
			return 0
		})
		if err := m.Run(t.Context()); err == nil {
			t.Errorf("a folder that answers %d is taken for an empty one", code)
		}
		s.Failing(nil)
		treetest.Equal(t, s.Dir, dst)
	}
	// A folder that went is an empty one, and its NARs are missed.
	s.Failing(func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "/nar/") {
			return http.StatusNotFound
		}
		return 0
	})
	if err := m.Run(t.Context()); err != nil {
		t.Log(err)
	}
	whole(t, dst)
}

// TestMirrorPutServer mirrors to a server that cannot be listed.
func TestMirrorPutServer(t *testing.T) {
	src, dst := treetest.NewMem(t), treetest.NewMem(t)
	treetest.Populate(t, src)
	s := webtest.Serve(t, webtest.PutServer(dst, true))
	p, err := httpcache.OpenPut(s.URL, httpcache.Options{Netrc: webtest.NoCredentials(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m := &mirror.Mirror{Source: src, Dest: p}
	puts := func() (n int) {
		t.Helper()
		before := len(s.Asked())
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Asked()[before:] {
			if r.Method == http.MethodPut {
				n++
			}
		}
		return n
	}
	if n := puts(); n < len(src.Keys()) {
		t.Errorf("%d puts", n)
	}
	if diff := cmp.Diff(src.Keys(), dst.Keys()); diff != "" {
		t.Errorf("(-source +destination):\n%s", diff)
	}
	if n := puts(); n > 0 {
		t.Errorf("%d puts with nothing to do", n)
	}
	// The server signs what it is given, which does not count as a difference.
	for _, key := range dst.Keys() {
		if key.Kind() == layout.KindNarInfo {
			dst.Damage(key, func(b []byte) []byte { return append(b, "Sig: server-1:"+strings.Repeat("A", 86)+"==\n"...) })
			break
		}
	}
	if n := puts(); n > 1 {
		t.Errorf("%d puts after the server signed", n)
	}
	m.Delete = true
	if err := m.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be listed") {
		t.Errorf("Delete: %v", err)
	}
}

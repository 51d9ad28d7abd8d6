package webtest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	xwebdav "golang.org/x/net/webdav"
)

// DAVPrefix is the path that a DAV serves its tree below.
const DAVPrefix = "/some/cache"

// A DAV serves a directory the way a plain WebDAV server does, below DAVPrefix,
// and counts.
type DAV struct {
	*httptest.Server
	Dir *layout.Dir

	mu    sync.Mutex
	asked map[string]int
	fail  func(*http.Request) int // a status to answer with instead, or 0
}

// ServeDAV serves a copy of treetest.Source.
func ServeDAV(t *testing.T) *DAV {
	t.Helper()
	s := &DAV{Dir: treetest.OpenDir(t, t.TempDir()+"/tree"), asked: map[string]int{}}
	src := treetest.Source(t)
	for info, err := range src.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		text, err := layout.ReadAll(t.Context(), src, info.Key)
		if err != nil {
			t.Fatal(err)
		}
		treetest.PutText(t, s.Dir, info.Key, string(text))
	}
	dav := &xwebdav.Handler{Prefix: DAVPrefix, FileSystem: xwebdav.Dir(s.Dir.Path()), LockSystem: xwebdav.NewMemLS()}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.Method]++
		fail := s.fail
		s.mu.Unlock()
		if fail != nil {
			if code := fail(r); code != 0 {
				w.WriteHeader(code)
				return
			}
		}
		dav.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Failing has requests answered with the status that f returns, where that is
// not 0; nil ends it.
func (s *DAV) Failing(f func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Take returns how often each method was asked for since the last call.
func (s *DAV) Take() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = map[string]int{}
	return asked
}

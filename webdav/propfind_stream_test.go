package webdav

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A listing that breaks off does not count as one (I5).
func TestPropfindTrouble(t *testing.T) {
	mem := treetest.NewMem(t)
	treetest.Populate(t, mem)
	for at := range 3 {
		tree := &treetest.Faulty{Tree: mem, Fault: treetest.Fault{At: 1, Done: at > 0, Only: func(op treetest.Op, _ layout.Key) bool { return op == treetest.OpList }}}
		s := newServer(t, New(Config{Tree: tree, Auth: AllowAll, Log: quiet}))
		req, err := http.NewRequest("PROPFIND", s.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Depth", "1")
		resp, err := s.Client().Do(req)
		if err != nil {
			continue // the connection ended before an answer
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 207 && err == nil {
			t.Errorf("a listing that failed passed for the whole")
		}
	}
}

// Memory does not depend on how much a folder holds: what was written last is
// the size of a piece.
func TestPropfindStreams(t *testing.T) {
	mem := treetest.NewMem(t)
	for i := range 2000 {
		key, err := layout.ParseKey(fmt.Sprintf("log/%032d-x.drv", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := mem.Put(t.Context(), key, layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("PROPFIND", "/log", nil)
	r.Header.Set("Depth", "1")
	New(Config{Tree: mem, Log: quiet}).ServeHTTP(w, r)
	if n := strings.Count(w.Body.String(), "<D:response>"); n != 2001 || w.largest > 2*piece {
		t.Errorf("%d entries, in pieces of up to %d bytes", n, w.largest)
	}
}

type pieces struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}

package httpcache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// A piecewise is the part of our own server that this side needs, with pieces of ten
// bytes. Fail may answer a request in its place.
type piecewise struct {
	mu     sync.Mutex
	lacks  []string
	pieces map[int64][]byte
	whole  []byte
	checks int // how often it still says that it checks
	fail   func(n int) int
	n      int
}

const tenBytes = 10

func (s *piecewise) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.n++
	if s.fail != nil {
		if status := s.fail(s.n); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	var first, last, total int64
	at := r.Header.Get("Content-Range")
	switch {
	case r.Method == http.MethodPost && r.URL.RawQuery == "missing":
		json.NewEncoder(w).Encode(map[string]any{"version": 1, "missing": s.lacks, "pieceSize": tenBytes})
	case r.Method == http.MethodPut && strings.HasPrefix(at, "bytes */"):
		fmt.Sscanf(at, "bytes */%d", &total)
		var have []byte
		missing := []int64{}
		for offset := int64(0); offset < total; offset += tenBytes {
			if s.pieces[offset] == nil {
				missing = append(missing, offset)
			}
			have = append(have, s.pieces[offset]...)
		}
		checking := len(missing) == 0 && s.checks > 0
		if checking {
			s.checks--
		}
		if len(missing) > 0 || checking {
			w.WriteHeader(http.StatusAccepted)
			json.NewEncoder(w).Encode(map[string]any{"version": 1, "missing": missing, "pieceSize": tenBytes, "checking": checking})
			return
		}
		s.whole = have
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		if n, _ := fmt.Sscanf(at, "bytes %d-%d/%d", &first, &last, &total); n != 3 || int64(len(body)) != last-first+1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.pieces[first] = body
		w.WriteHeader(http.StatusCreated)
	}
}

// A NAR arrives whole whichever request fails, and nothing of it is sent twice that
// arrived.
func TestPutPieces(t *testing.T) {
	nar := webtest.Noise(95)
	key := layout.NARKey(layout.Hash{1}, ".zst")
	for at := 0; at <= 16; at++ {
		server := &piecewise{pieces: map[int64][]byte{}, checks: 2}
		server.fail = func(n int) int {
			if n == at {
				return http.StatusBadGateway
			}
			return 0
		}
		s := webtest.Serve(t, server.ServeHTTP)
		p := openPut(t, s.URL)
		if _, err := p.Missing(t.Context(), nil); err != nil {
			t.Fatalf("request %d failed: %v", at, err)
		}
		if err := p.Put(t.Context(), key, layout.Bytes(nar), layout.PutOptions{IfAbsent: true}); err != nil {
			t.Errorf("request %d failed: %v", at, err)
		}
		if !bytes.Equal(server.whole, nar) {
			t.Errorf("request %d failed: %d bytes arrived", at, len(server.whole))
		}
		// The question, how far it is, ten pieces, and the checking.
		if most := 1 + 1 + 10 + 3 + 1; server.n > most {
			t.Errorf("request %d failed: %d requests, want at most %d", at, server.n, most)
		}
	}
}

// A server that loses each piece is not asked for ever.
func TestPutPiecesEnds(t *testing.T) {
	server := &piecewise{pieces: map[int64][]byte{}}
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		server.pieces = map[int64][]byte{}
		server.ServeHTTP(w, r)
	})
	p := openPut(t, s.URL)
	if _, err := p.Missing(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	err := p.Put(t.Context(), layout.NARKey(layout.Hash{1}, ".zst"), layout.Bytes(webtest.Noise(25)), layout.PutOptions{})
	webtest.WantError(t, err, "misses pieces")
	for name, offset := range map[string]int64{"behind the end": 30, "before the beginning": -10} {
		s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			json.NewEncoder(w).Encode(map[string]any{"missing": []int64{offset}, "pieceSize": tenBytes})
		})
		p := openPut(t, s.URL)
		p.pieceSize.Store(tenBytes)
		if err := p.Put(t.Context(), layout.NARKey(layout.Hash{1}, ".zst"), layout.Bytes(webtest.Noise(25)), layout.PutOptions{}); err == nil {
			t.Errorf("a piece %s was sent", name)
		}
	}
}

func TestMissing(t *testing.T) {
	var paths []layout.StorePath
	for _, hash := range []string{"a", "b", "c"} {
		paths = append(paths, layout.StorePath(strings.Repeat(hash, 32)+"-"+hash))
	}
	server := &piecewise{lacks: []string{paths[1].Hash()}}
	p := openPut(t, webtest.Serve(t, server.ServeHTTP).URL)
	got, err := p.Missing(t.Context(), paths)
	if diff := cmp.Diff(map[layout.StorePath]bool{paths[1]: true}, got); diff != "" || err != nil {
		t.Errorf("missing (-want +got):\n%s%v", diff, err)
	}
	if !p.Traits().Lists {
		t.Error("the server is not known for ours")
	}
	server.lacks = []string{strings.Repeat("d", 32)}
	if _, err := p.Missing(t.Context(), paths); err == nil {
		t.Error("an answer that was not asked for is taken")
	}
	for name, handler := range map[string]http.HandlerFunc{
		"a server that takes PUT alone": webtest.PutServer(treetest.NewMem(t), false),
		"a page":                        webtest.Status(http.StatusOK, "<html>"),
		"another version":               webtest.Status(http.StatusOK, `{"version": 2}`),
		"nginx, for a folder":           webtest.Status(http.StatusForbidden, ""),
		"no such method":                webtest.Status(http.StatusMethodNotAllowed, ""),
	} {
		p := openPut(t, webtest.Serve(t, handler).URL)
		if _, err := p.Missing(t.Context(), paths); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		if p.Traits().Lists {
			t.Errorf("%s is taken for ours", name)
		}
	}
	p = openPut(t, webtest.Serve(t, webtest.Status(http.StatusUnauthorized, "")).URL)
	if _, err := p.Missing(t.Context(), paths); !errors.Is(err, ErrRefused) {
		t.Errorf("without a password: %v", err)
	}
}

//go:build real

package through_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// An upstream is a signed cache of some paths behind a web server that a test may have
// misbehave.
type upstream struct {
	URL  string
	Key  nixtest.Key
	Tree string

	mu    sync.Mutex
	asked map[string]int // by the path of the URL
	total int
	fault func(n int, name string) fault
}

// A fault is what is wrong with one answer.
type fault int

const (
	fine   fault = iota
	cut          // the connection breaks after half of the body
	failed       // 500
	page         // a web page, with 200
	crawl        // a byte now and then
	wrong        // a bit in the middle is another
	gone         // 404
	paused       // half of the body, and the rest a while later
)

func startUpstream(t testing.TB, name string, paths ...string) *upstream {
	t.Helper()
	u := &upstream{Key: ours(t).NewKey(t, name), Tree: filepath.Join(t.TempDir(), "upstream"), asked: map[string]int{}}
	ours(t).Output(t, append([]string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to", u.Tree, "-k", u.Key.File}, paths...)...)
	files := http.FileServer(http.Dir(u.Tree))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.asked[r.URL.Path]++
		u.total++
		n, how := u.total, u.fault
		u.mu.Unlock()
		what := fine
		if how != nil {
			what = how(n, r.URL.Path)
		}
		if what == failed {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		if what == page {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<!doctype html><title>Log in</title>"))
			return
		}
		if what == gone {
			http.NotFound(w, r)
			return
		}
		files.ServeHTTP(&faulty{ResponseWriter: w, what: what, r: r}, r)
	}))
	t.Cleanup(server.Close)
	u.URL = server.URL
	return u
}

// misbehave tells what is wrong with the n-th answer from now on.
func (u *upstream) misbehave(fault func(n int, name string) fault) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fault, u.total = fault, 0
}

// always has a fault in all answers about NARs.
func always(what fault) func(int, string) fault {
	return func(_ int, name string) fault {
		if strings.HasPrefix(name, "/nar/") {
			return what
		}
		return fine
	}
}

// times returns how often URLs were asked for whose paths begin so.
func (u *upstream) times(prefix string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, times := range u.asked {
		if strings.HasPrefix(name, prefix) {
			n += times
		}
	}
	return n
}

// faulty is a body with something wrong about it.
type faulty struct {
	http.ResponseWriter
	what fault
	r    *http.Request
}

// Write writes the body in the way of the fault. The first piece of a file is at most
// 32 KiB: a large one breaks off or pauses early.
func (f *faulty) Write(p []byte) (int, error) {
	half := p[:len(p)/2]
	switch f.what {
	case cut:
		f.ResponseWriter.Write(half)
		panic(http.ErrAbortHandler)
	case wrong:
		p = append([]byte(nil), p...)
		p[len(p)/2] ^= 1
	case crawl:
		for i := range p {
			f.ResponseWriter.Write(p[i : i+1])
			http.NewResponseController(f.ResponseWriter).Flush()
			select {
			case <-time.After(50 * time.Millisecond):
			case <-f.r.Context().Done():
				return i, f.r.Context().Err()
			}
		}
		return len(p), nil
	case paused:
		f.what = fine
		f.ResponseWriter.Write(half)
		http.NewResponseController(f.ResponseWriter).Flush()
		select {
		case <-time.After(time.Second):
		case <-f.r.Context().Done():
		}
		n, err := f.ResponseWriter.Write(p[len(half):])
		return len(half) + n, err
	}
	return f.ResponseWriter.Write(p)
}

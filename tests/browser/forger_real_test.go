//go:build real

package browser

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A forger serves a tree, and other answers in place of some of its files.
type forger struct {
	b       *tab
	url     string
	dir     string
	noise   []byte // what is in a/noise
	hash    string // of a path whose NAR has several frames, with z/last as its last file
	asked   atomic.Int64
	evil    *httptest.Server // which nothing may ask
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f := &forger{dir: filepath.Join(t.TempDir(), "cache"), answers: map[string]http.HandlerFunc{}}
	program := nixtest.Program{Nix: peers.Newest(t)}
	files := filepath.Join(t.TempDir(), "files")
	noise := make([]byte, 20<<20)
	rand.NewChaCha8([32]byte{4}).Read(noise)
	f.noise = noise
	for name, text := range map[string][]byte{"a/noise": noise, "z/last": []byte("the last file\n")} {
		file := filepath.Join(files, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program.Run(t, "init", f.dir).Want(t, 0)
	f.hash = hashOf(program.Run(t, "add", "--to", f.dir, files).Want(t, 0).Output())
	tree := http.FileServer(http.Dir(f.dir))
	// The same is served in a folder, as a cache beside other things of its server.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/folder")
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("Cache-Control", "no-store")
		f.mu.Lock()
		answer := f.answers[strings.TrimPrefix(r.URL.Path, "/")]
		f.mu.Unlock()
		if answer == nil {
			answer = tree.ServeHTTP
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	f.evil = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f.asked.Add(1) }))
	t.Cleanup(f.evil.Close)
	f.url, f.b = server.URL+"/", openTab(t)
	return f
}

// read returns a file of the tree.
func (f *forger) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// forge has a name answered with other bytes; nil takes that back.
func (f *forger) forge(name string, answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[name] = answer
}

func plain(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

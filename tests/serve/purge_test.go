//go:build real

package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A CDN before a server is told of the objects that an upload replaced, and of no others.
func TestPurgeHook(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	s := start(t, "--purge-hook", "cat >>"+told, "--purge-url", "https://cdn.example.org/cache")
	path := peers.Closure(t).Named(t, "hello-2.10-debug")
	push(t, fresh(t, peers.Newest(t)), s.upload(), path)
	text := readFile(t, s.Tree, hashPart(path)+".narinfo")
	nar := lines(text, "URL")[0]
	if err := os.WriteFile(filepath.Join(s.Tree, nar), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	push(t, fresh(t, peers.Newest(t)), s.upload(), path)
	s.stop(t)
	verify(t, s.Tree)
	if got, want := readFile(t, told), "https://cdn.example.org/cache/"+nar+"\n"; !strings.Contains(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

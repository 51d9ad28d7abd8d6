//go:build real

package serve_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// An upload reaches the page, also if the server is killed before it has written that:
// the next one does.
func TestUploadReachesThePage(t *testing.T) {
	s := start(t)
	newest(t).Output(t, "page", "--quiet", s.Tree)
	count := func() int {
		var stats struct{ Paths int }
		text, err := os.ReadFile(filepath.Join(s.Tree, "stats.json"))
		if err == nil {
			err = json.Unmarshal(text, &stats)
		}
		if err != nil {
			t.Fatal(err)
		}
		return stats.Paths
	}
	nix := fresh(t, peers.Newest(t))
	push(t, nix, s.upload(quick[1:]), small(t))
	first := len(narinfos(t, s.Tree))
	until(t, "the page has what was uploaded", func() bool { return first > 0 && count() == first })
	newest(t).Output(t, "find", s.URL, filepath.Base(small(t))[33:])

	behind := filepath.Join(s.Tree, ".nixstatic/page-behind")
	marked := func() bool { _, err := os.Stat(behind); return err == nil }
	all := 0
	for _, path := range somePaths(t) { // one of them is caught on its way
		push(t, nix, s.upload(quick[1:]), path)
		if all = len(narinfos(t, s.Tree)); all > first && marked() {
			break
		}
	}
	s.kill(t)
	if !marked() || count() == all {
		t.Fatalf("the page has %d of %d paths, and counts as behind: %v", count(), all, marked())
	}
	s.run(t, "127.0.0.1:0")
	until(t, "the page has what was uploaded before", func() bool { return count() == all })
	until(t, "the page counts as current", func() bool { return !marked() })
}

package through

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A Nix remembers the narinfo of a path for a month. It gets the NAR after the path was
// pruned, and the path is there again; other programs get the tree's own bytes.
func TestPrunedIsFetchedAgain(t *testing.T) {
	tr := newTrial(t, newCache(t, "up-1"))
	app := treetest.Closure(t).Named("app").Info.Path
	key := layout.NarInfoKey(app)
	tr.get(t, tr.record(t, app).URL)
	tr.settled(t)
	nix := []string{"User-Agent", "curl/8.23.0 Nix/2.34.8"}
	var url string
	for range 2 { // as it is read, and as it is remembered
		status, text, err := tr.get(t, string(key), nix...)
		n, bad := layout.ParseNarInfo([]byte(text), layout.DefaultStoreDir)
		if status != 200 || err != nil || bad != nil {
			t.Fatal(status, err, bad)
		}
		url = n.URL
		if !strings.HasSuffix(url, ".nar.zst?of="+app.Hash()) {
			t.Errorf("a Nix is led to %s", url)
		}
		if len(n.Sigs) != 2 {
			t.Errorf("%d signatures", len(n.Sigs))
		}
		status, text, err = tr.get(t, string(key))
		if have, _ := layout.ReadAll(t.Context(), tr.tree, key); status != 200 || err != nil || text != string(have) {
			t.Errorf("another program gets %d, %v\n%s", status, err, text)
		}
	}
	nar, _, _ := strings.Cut(url, "?")
	for _, gone := range []layout.Key{key, layout.Key(nar)} {
		if err := tr.tree.Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, err := tr.get(t, url, nix...); status != 200 || err != nil {
		t.Errorf("the NAR of a path that was pruned: %d, %v", status, err)
	}
	tr.settled(t)
	if !tr.has(t, key) {
		t.Error("the path is not there again")
	}
}

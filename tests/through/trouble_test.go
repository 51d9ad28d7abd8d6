//go:build real

package through_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// The whole closure comes through an upstream that breaks answers off, fails, sends web
// pages and pauses, from time to time each; and one that has wrong bytes of a path and an
// old record of another, with a second upstream behind it.
func TestClosureThroughTrouble(t *testing.T) {
	top := peers.Closure(t).Top
	up := startUpstream(t, "up-1", top)
	second := startUpstream(t, "up-2", named(t, "flat", "tree")...)
	s := start(t, []*upstream{up, second})
	nix := fresh(t, peers.Newest(t))
	flat, tree := narOf(t, up.Tree, named(t, "flat")[0]), narOf(t, up.Tree, named(t, "tree")[0])
	up.misbehave(func(n int, name string) fault {
		switch {
		case name == flat:
			return wrong
		case name == tree:
			return gone
		}
		return map[int]fault{3: cut, 13: failed, 23: page, 33: paused}[n%40]
	})
	var out string
	var err error
	root := peers.StoreRoot(t)
	for range 5 { // as people and CI do
		if out, err = pullInto(t, root, nix, s.URL, s.Key.Public, top); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.stop(t)
	verify(t, s.Tree, s.Key.Public)
	if got, want := narinfos(t, s.Tree), len(peers.Closure(t).Paths); got != want {
		t.Errorf("%d paths are there, want %d", got, want)
	}
}

// narOf returns the path of the URL of a NAR.
func narOf(t testing.TB, tree, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, hashPart(path)+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "URL: ")
	url, _, _ := strings.Cut(rest, "\n")
	return "/" + url
}

// No client gets a whole answer of wrong bytes, and nothing of them stays.
func TestWrongBytes(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	up.misbehave(always(wrong))
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			s := start(t, []*upstream{up})
			path := named(t, "libgcc-s1-")[0]
			status, text, err := get(t, urlOf(t, s.URL, path))
			if status == 200 && err == nil {
				t.Errorf("%d wrong bytes came as a whole", len(text))
			}
			if out, err := tryPull(t, fresh(t, nix), s.URL, s.Key.Public, path); err == nil {
				t.Errorf("Nix took wrong bytes:\n%s", out)
			}
			s.stop(t)
			for _, pattern := range []string{"*.narinfo", "*.ls", "nar/*"} {
				if found, _ := filepath.Glob(filepath.Join(s.Tree, pattern)); len(found) > 0 {
					t.Errorf("the tree has %v", found)
				}
			}
			verify(t, s.Tree)
		})
	}
}

// An upstream that crawls is given up and told of, and what the tree has is served on.
func TestCrawl(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	s := start(t, []*upstream{up}, "--pull-through-timeout", "2s")
	nix := peers.Newest(t)
	pull(t, fresh(t, nix), s.URL, s.Key.Public, named(t, "flat")...)
	until(t, "it is published", func() bool { return narinfos(t, s.Tree) == 1 })
	url := urlOf(t, s.URL, named(t, "libgcc-s1-")[0])
	up.misbehave(always(crawl))
	if status, _, err := get(t, url); status == 200 && err == nil {
		t.Error("the NAR came to an end")
	}
	status, text, _ := get(t, s.Metrics+"/healthz")
	if status != 200 || !strings.Contains(text, up.URL+" is left alone") || !strings.Contains(text, "too slow") {
		t.Errorf("healthz: %d %s", status, text)
	}
	_, text, _ = get(t, s.Metrics+"/metrics")
	if want := `nixstatic_pull_through_upstream_asked{upstream="` + up.URL + `"} 0`; !strings.Contains(text, want) {
		t.Errorf("the metrics lack %s", want)
	}
	if !strings.Contains(s.log.String(), "left alone") {
		t.Errorf("the log does not tell:\n%s", s.log)
	}
	before := time.Now()
	if status, _, _ := get(t, s.URL+"/"+hashPart(named(t, "tree")[0])+".narinfo"); status != 503 {
		t.Errorf("what is not known: status %d after %s", status, time.Since(before))
	}
	pull(t, fresh(t, nix), s.URL, s.Key.Public, named(t, "flat")...)
}

package pages

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func newKeeper(t *testing.T) *Keeper {
	t.Helper()
	tree := treetest.NewMem(t)
	if _, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	k := &Keeper{Tree: tree, Now: func() time.Time { return time.Unix(1900000000, 0) }}
	if err := k.Set(t.Context(), false, func(*Settings) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return k
}

func known(t *testing.T, k *Keeper) (paths []string) {
	t.Helper()
	if err := k.Known(t.Context(), func(r Record) error { paths = append(paths, string(r.Path)); return nil }); err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, k *Keeper, key layout.Key) string {
	t.Helper()
	text, err := layout.ReadAll(t.Context(), k.Tree, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func stats(t *testing.T, k *Keeper) Stats {
	t.Helper()
	s, err := ReadStats(t.Context(), k.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestApply follows a page from one state of its tree to the next.
func TestApply(t *testing.T) {
	k := newKeeper(t)
	a, b := record(1, "hello-2.12"), record(2, "world")
	apply := func(c Change) {
		t.Helper()
		if err := k.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	apply(Change{Came: []Record{a}, Keys: []string{"k:AAAA"}})
	apply(Change{Came: []Record{b, a}})
	if s := stats(t, k); s.Paths != 2 || s.NarBytes != a.NarSize+b.NarSize || s.FileBytes != a.FileSize+b.FileSize || len(s.Newest) != 2 || s.Newest[0].Path != b.Path || len(s.Months) != 1 {
		t.Errorf("after two: %+v", s)
	}
	if got := read(t, k, keysKey); got != "k:AAAA\n" {
		t.Errorf("keys %q", got)
	}
	index := read(t, k, indexKey)
	for _, want := range []string{"hello-2.12", "k:AAAA", "path.html#" + b.Path.Hash(), "default-src &#39;self&#39;"} {
		if !strings.Contains(index, want) && !strings.Contains(index, strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("the index lacks %q", want)
		}
	}
	// Sent again with another compression, a path keeps the time at which it came.
	c := a
	c.FileSize, c.Time = 7, a.Time.Add(time.Hour)
	apply(Change{Came: []Record{c}})
	if s := stats(t, k); s.Paths != 2 || s.FileBytes != 7+b.FileSize || s.Newest[0].Path != b.Path {
		t.Errorf("after one changed: %+v", s)
	}
	apply(Change{Gone: []layout.StorePath{a.Path, record(9, "none").Path}})
	if s := stats(t, k); s.Paths != 1 || s.FileBytes != b.FileSize || len(s.Newest) != 1 {
		t.Errorf("after one went: %+v", s)
	}
	if diff := cmp.Diff([]string{string(b.Path)}, known(t, k)); diff != "" {
		t.Error(diff)
	}
	pin := Pin{Name: "p", Generation: 1, Graph: GraphKey("p"), Roots: []Root{{Path: b.Path}}}
	apply(Change{SetPins: true, Pins: []Pin{pin}, Graphs: []Graph{{Version: 1, Pin: "p", Paths: []layout.StorePath{b.Path}, Refs: [][]int32{{}}}}})
	var graph Graph
	if err := json.Unmarshal([]byte(read(t, k, pin.Graph)), &graph); err != nil || len(graph.Paths) != 1 {
		t.Errorf("graph %v, %v", graph, err)
	}
	apply(Change{Served: &Served{Reads: 3}})
	apply(Change{Served: &Served{Reads: 4}, SetPins: true})
	if s := stats(t, k); s.Served.Reads != 7 || len(s.Pins) != 0 {
		t.Errorf("served %+v", s.Served)
	}
	if _, there, _ := layout.Lookup(t.Context(), k.Tree, pin.Graph); there {
		t.Error("the graph of a pin outlives it")
	}
}

// TestNoPage checks that a tree without a page gets none, and is not written to.
func TestNoPage(t *testing.T) {
	tree := treetest.NewMem(t)
	k := &Keeper{Tree: tree}
	if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "a")}, Keys: []string{"k:A"}}); err != nil {
		t.Fatal(err)
	}
	for info := range tree.List(t.Context(), "") {
		t.Errorf("there is %s", info.Key)
	}
}

// TestForeign checks that a page of someone else's stays.
func TestForeign(t *testing.T) {
	tree := treetest.NewMem(t)
	k := &Keeper{Tree: tree}
	if err := tree.Put(t.Context(), indexKey, layout.Bytes([]byte("<p>mine")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	none := func(*Settings) error { return nil }
	if err := k.Set(t.Context(), false, none); !errors.Is(err, ErrForeign) {
		t.Fatalf("got %v", err)
	}
	if got := read(t, k, indexKey); got != "<p>mine" {
		t.Errorf("it is %q now", got)
	}
	if err := k.Set(t.Context(), true, none); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, k, indexKey); !isOurs([]byte(got)) {
		t.Errorf("it is %q still", got)
	}
}

// TestTogether lets several keepers change one page at the same time.
func TestTogether(t *testing.T) {
	k := newKeeper(t)
	var wait sync.WaitGroup
	const writers, each = 4, 25
	for w := range writers {
		wait.Go(func() {
			mine := &Keeper{Tree: k.Tree, Now: k.Now}
			for n := range each {
				if err := mine.Apply(t.Context(), Change{Came: []Record{record(w*each+n, fmt.Sprintf("a-b-%d", n))}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(known(t, k)); n != writers*each {
		t.Errorf("%d of %d paths", n, writers*each)
	}
	if s := stats(t, k); s.Paths != writers*each {
		t.Errorf("stats tell of %d", s.Paths)
	}
}

// TestDamaged checks that a damaged index is told from trouble, and made anew.
func TestDamaged(t *testing.T) {
	hashes, _ := tables(false)
	for _, damage := range []func(t *testing.T, k *Keeper){
		func(t *testing.T, k *Keeper) {
			if err := k.Tree.Put(t.Context(), hashes.list(), layout.Bytes([]byte("{")), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		func(t *testing.T, k *Keeper) {
			table, _, err := k.read(t.Context(), hashes)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Tree.Put(t.Context(), hashes.shard(table.Shards[0].name), layout.Bytes([]byte("x\n")), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		k := newKeeper(t)
		if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "a")}}); err != nil {
			t.Fatal(err)
		}
		damage(t, k)
		err := k.Apply(t.Context(), Change{Came: []Record{record(2, "b")}})
		if !errors.As(err, new(*DamagedError)) {
			t.Fatalf("got %v", err)
		}
		if err := k.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "a"), record(2, "b")}}); err != nil {
			t.Fatal(err)
		}
		if n := len(known(t, k)); n != 2 {
			t.Errorf("%d paths after the index was made anew", n)
		}
	}
}

// TestUnlisted checks that an unlisted page names no path anywhere public.
func TestUnlisted(t *testing.T) {
	k := newKeeper(t)
	if err := k.Set(t.Context(), false, func(s *Settings) error { s.Unlisted = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "verysecret")}}); err != nil {
		t.Fatal(err)
	}
	for info, err := range k.Tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(read(t, k, info.Key), "verysecret") {
			t.Errorf("%s names it", info.Key)
		}
	}
	if s := stats(t, k); s.Paths != 1 {
		t.Errorf("%d paths are counted", s.Paths)
	}
}

// TestHostile checks that names and settings from outside are text in a page.
func TestHostile(t *testing.T) {
	k := newKeeper(t)
	evil := `</title><script>alert(1)</script>"'&` + "\u202e"
	err := k.Set(t.Context(), false, func(s *Settings) error {
		s.Title, s.URL = evil, `https://x/"><script>`
		s.AddKeys(`k:"><script>alert(2)</script>`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pin := Pin{Name: "p", Generation: 1, Note: evil, Roots: []Root{{Path: layout.StorePath(strings.Repeat("0", 32) + "-<script>")}}}
	if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "a")}, SetPins: true, Pins: []Pin{pin}}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []layout.Key{indexKey, "path.html", "404.html"} {
		text := read(t, k, key)
		if n := strings.Count(text, "<script"); n != strings.Count(text, `<script type="module" src="`) {
			t.Errorf("%s has a script of an attacker: %s", key, text)
		}
		if strings.Contains(text, "style=") || strings.Contains(text, " on") && strings.Contains(text, "onclick=") {
			t.Errorf("%s has what the policy forbids", key)
		}
	}
}

// TestFirstLoad bounds what a browser loads to show the index of a large cache.
func TestFirstLoad(t *testing.T) {
	k := newKeeper(t)
	var c Change
	for n := range 1000 {
		c.Came = append(c.Came, record(n, strings.Repeat("x", 200)))
		c.Pins = append(c.Pins, Pin{Name: fmt.Sprintf("pin-%03d", n), Time: time.Unix(int64(n), 0), Roots: slices.Repeat([]Root{{Path: record(n, strings.Repeat("x", 200)).Path}}, 3)})
	}
	c.SetPins = true
	if err := k.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, key := range []layout.Key{indexKey, "style.css", "page.js", "favicon.svg"} {
		sum += len(read(t, k, key))
	}
	if sum > 100_000 {
		t.Errorf("%d bytes", sum)
	}
	// The pins that changed last are shown, by name.
	index := read(t, k, indexKey)
	if first, last := strings.Index(index, "pin-960"), strings.Index(index, "pin-999"); first < 0 || last < first || strings.Contains(index, "pin-959") || !strings.Contains(index, "960 more") {
		t.Errorf("the pins are shown as %s", index)
	}
}

// TestAssets checks that each file that is the same in all trees is asked for by its version: a
// browser may remember that of another one.
func TestAssets(t *testing.T) {
	k := newKeeper(t)
	if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "a")}}); err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?:src|href)="(/?[a-z]+\.(?:js|css|svg)(?:\?[^"]*)?)"|(?:from|import\() ?"(\./[^"]*)"`)
	found := map[string]bool{}
	for _, key := range []layout.Key{indexKey, "path.html", "404.html", "page.js", "path.js", "zstd.js"} {
		for _, match := range asked.FindAllStringSubmatch(read(t, k, key), -1) {
			name, version, _ := strings.Cut(strings.TrimLeft(match[1]+match[2], "./"), "?v=")
			if found[name] = true; version != assetsVersion() || len(version) != 10 {
				t.Errorf("%s asks for %s", key, match[0])
			}
		}
	}
	for _, key := range plainFiles {
		if !found[string(key)] {
			t.Errorf("nothing asks for %s", key)
		}
	}
}

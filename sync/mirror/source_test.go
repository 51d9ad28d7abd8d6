package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

func TestMirrorKinds(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst, Kinds: []layout.Kind{layout.KindNarInfo, layout.KindListing}}
	err := m.Run(t.Context())
	incomplete := (*mirror.IncompleteError)(nil)
	if !errors.As(err, &incomplete) || incomplete.Count != 9 {
		t.Errorf("narinfos without NARs: %v", err)
	}
	m.Kinds = []layout.Kind{layout.KindNAR}
	mustRun(t, m)
	m.Kinds = []layout.Kind{layout.KindNarInfo}
	mustRun(t, m)
	for _, key := range dst.Keys() {
		if kind := key.Kind(); kind != layout.KindNAR && kind != layout.KindListing && kind != layout.KindNarInfo {
			t.Errorf("there is %s", key)
		}
	}
}

// TestMirrorBadSource: what is wrong in the source is left out, with all that
// needs it, and nothing else.
func TestMirrorBadSource(t *testing.T) {
	nar := func(t *testing.T, src layout.Tree, name string) layout.Key {
		for n := range treetest.Records(t, src) {
			if n.Path.Name() == name {
				return layout.Key(n.URL)
			}
		}
		t.Fatal(name)
		return ""
	}
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	gone := func([]byte) []byte { return nil }
	info := func(name string) func(*testing.T, layout.Tree) layout.Key {
		return func(t *testing.T, src layout.Tree) layout.Key {
			return layout.NarInfoKey(treetest.Record(t, src, name).Path)
		}
	}
	narOf := func(name string) func(*testing.T, layout.Tree) layout.Key {
		return func(t *testing.T, src layout.Tree) layout.Key { return nar(t, src, name) }
	}
	for _, c := range []struct {
		name string
		key  func(*testing.T, layout.Tree) layout.Key
		edit func([]byte) []byte
		says string
		lost []string // paths
	}{
		{"a NAR is damaged", narOf("lib"), flip, "which is not its name", []string{"lib", "env", "app"}},
		{"a NAR is cut off", narOf("flat"), cut, "which is not its name", []string{"flat", "app"}},
		{"a NAR is gone", narOf("app"), gone, "which the source does not have", []string{"app"}},
		{"a NAR of two paths is gone", narOf("twin"), gone, "which the source does not have", []string{"twin", "source", "lib", "env", "app"}},
		{"a narinfo is cut off", info("lib"), cut, "cut off", []string{"lib", "env", "app"}},
		{"a narinfo is empty", info("app"), func([]byte) []byte { return []byte{} }, "no StorePath", []string{"app"}},
		{"a reference is gone", info("lib"), gone, "which the source does not have", []string{"lib", "env", "app"}},
		{"a listing is gone", func(t *testing.T, src layout.Tree) layout.Key {
			return layout.ListingKey(treetest.Record(t, src, "app").Path)
		}, gone, "", nil},
		{"a listing is damaged", func(t *testing.T, src layout.Tree) layout.Key {
			return layout.ListingKey(treetest.Record(t, src, "app").Path)
		}, cut, "", nil}, // it can be made anew
		{"nix-cache-info is gone", func(*testing.T, layout.Tree) layout.Key { return layout.CacheInfoKey }, gone, "no binary cache", []string{"all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := treetest.Source(t)
			dst := treetest.NewMem(nil)
			all := map[string]bool{}
			for n := range treetest.Records(t, src) {
				all[n.Path.Name()] = true
			}
			src.Damage(c.key(t, src), c.edit)
			m := &mirror.Mirror{Source: src, Dest: dst}
			err := m.Run(t.Context())
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("Run: %v", err)
			}
			if slices.Equal(c.lost, []string{"all"}) {
				if len(dst.Keys()) > 0 {
					t.Errorf("there is %v", dst.Keys())
				}
				return
			}
			for n := range treetest.Records(t, dst) {
				delete(all, n.Path.Name())
			}
			for _, name := range c.lost {
				if !all[name] {
					t.Errorf("%s is there", name)
				}
				delete(all, name)
			}
			if len(all) > 0 {
				t.Errorf("not there: %v", all)
			}
			for _, v := range dst.Violations() {
				if !strings.Contains(v, "before its listing") || len(c.lost) > 0 {
					t.Error(v)
				}
			}
		})
	}
}

func TestMirrorRefuses(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	treetest.PutText(t, dst, layout.CacheInfoKey, "StoreDir: /gnu/store\n")
	before := dst.Keys()
	err := (&mirror.Mirror{Source: src, Dest: dst}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/gnu/store") {
		t.Errorf("another store directory: %v", err)
	}
	if !slices.Equal(before, dst.Keys()) {
		t.Errorf("there is %v", dst.Keys())
	}
	// An empty directory, such as a mount point, empties nothing.
	err = (&mirror.Mirror{Source: treetest.NewMem(t), Dest: src, Delete: true}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no binary cache") {
		t.Errorf("an empty source: %v", err)
	}
	for range (&mirror.Mirror{Source: unsorted{src}, Dest: dst}).Plan(t.Context()) {
		continue
	}
	for _, err := range (&mirror.Mirror{Source: unsorted{src}, Dest: dst}).Plan(t.Context()) {
		if err != nil {
			return
		}
	}
	t.Error("a listing out of order was taken")
}

func TestMirrorDirs(t *testing.T) {
	mem := treetest.Source(t)
	base := t.TempDir()
	a, b := treetest.OpenDir(t, base+"/a"), treetest.OpenDir(t, base+"/b")
	state := filepath.Join(base, "state")
	mustRun(t, &mirror.Mirror{Source: mem, Dest: a})
	m := &mirror.Mirror{Source: a, Dest: b, Delete: true, State: state}
	mustRun(t, m)
	treetest.Equal(t, mem, b)
	whole(t, b)
	mustRun(t, m)
	treetest.Withdraw(t, a, "app")
	mustRun(t, m)
	treetest.Equal(t, a, b)
	whole(t, b)
	if _, err := b.Stat(t.Context(), layout.NarInfoKey(treetest.Record(t, mem, "app").Path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("app is still there: %v", err)
	}
	// Back into memory, which polices.
	mustRun(t, &mirror.Mirror{Source: b, Dest: treetest.NewMem(t), Bandwidth: 100e6})
}

func TestMirrorKeys(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	m := &mirror.Mirror{Source: src, Dest: dst}
	mustRun(t, m)
	lib := treetest.Record(t, src, "lib").Path
	for _, name := range []string{"app", "env"} {
		treetest.Withdraw(t, dst, name)
	}
	treetest.Withdraw(t, dst, "lib")
	var keys []layout.Key
	for n := range treetest.Records(t, src) {
		if n.Path == lib {
			keys = append(keys, layout.NarInfoKey(lib), layout.ListingKey(lib), layout.Key(n.URL), "log/none", ".nixstatic/x")
		}
	}
	src.Counts()
	dst.Counts()
	if err := m.RunKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	if n := src.Counts().List + dst.Counts().List; n > 0 {
		t.Errorf("%d lists", n)
	}
	want(t, dst, layout.NarInfoKey(lib))
	// Without what it needs a path is left to a whole run.
	err := m.RunKeys(t.Context(), []layout.Key{layout.NarInfoKey(treetest.Record(t, src, "app").Path)})
	if err == nil || !strings.Contains(err.Error(), "not at the destination yet") {
		t.Errorf("app alone: %v", err)
	}
	mustRun(t, m)
	treetest.Equal(t, src, dst)
}

func want(t *testing.T, tree layout.Tree, key layout.Key) {
	t.Helper()
	if _, err := tree.Stat(t.Context(), key); err != nil {
		t.Error(err)
	}
}

func ExampleMirror() {
	src, err := layout.OpenDir("./cache")
	if err != nil {
		panic(err)
	}
	dst, err := layout.OpenDir("./copy")
	if err != nil {
		panic(err)
	}
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true}
	for change, err := range m.Plan(context.Background()) {
		fmt.Println(change.Action, change.Key, err)
	}
	if err := m.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
}

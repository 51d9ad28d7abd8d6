package treetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// fill puts keys at which orders of trees differ, and returns the public ones
// in order. A walk of folders meets what is in "a/" before the file "a.drv", an
// object store after.
func fill(t *testing.T, tree layout.Tree) []layout.Key {
	t.Helper()
	nar := narKey([]byte("nar"))
	keys := []layout.Key{
		"00000000000000000000000000000000.ls",
		"build-trace-v2/00000000000000000000000000000000-a.drv/out.doi",
		"build-trace-v2/00000000000000000000000000000000-a/out.doi",
		"build-trace-v2/00000000000000000000000000000000-a0/out.doi",
		"debuginfo/0123456789abcdef0123456789abcdef01234567",
		"debuginfo/0123456789abcdef0123456789abcdef01234567.debug",
		"index.html",
		"log/00000000000000000000000000000000-a+b.drv",
		"log/00000000000000000000000000000000-a-b.drv",
		"log/00000000000000000000000000000000-a.drv",
		"log/00000000000000000000000000000000-a_b.drv",
		nar,
		"nar00000000000000000000000000000.ls",
		"narz0000000000000000000000000000.ls",
		"robots.txt",
		"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz.ls",
	}
	for i, key := range keys {
		data := fmt.Appendf(nil, "%0*d", i+1, i)
		if key == nar {
			data = []byte("nar")
		}
		put(t, tree, key, data, layout.PutOptions{})
	}
	for _, key := range []layout.Key{".nixstatic/a", ".nixstatic/b/c"} {
		put(t, tree, key, nil, layout.PutOptions{})
	}
	slices.Sort(keys)
	return keys
}

func testListOrder(t *testing.T, tree layout.Tree) {
	keys := fill(t, tree)
	if diff := cmp.Diff(keys, list(t, tree, "")); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func testListPrefix(t *testing.T, tree layout.Tree) {
	keys := fill(t, tree)
	prefixes := []string{"0", "n", "nar", "nar/", "nar/0", "nar0", "log", "log/", "log/0", "log/00000000000000000000000000000000-a",
		"build-trace-v2/00000000000000000000000000000000-a", "build-trace-v2/00000000000000000000000000000000-a/",
		"index.html", "index.html/", "none", "none/", "debuginfo/x/", "/", "..", "./", "nar//", "nar/../", ".nix"}
	for _, prefix := range prefixes {
		var want []layout.Key
		for _, key := range keys {
			if len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix {
				want = append(want, key)
			}
		}
		if diff := cmp.Diff(want, list(t, tree, prefix)); diff != "" {
			t.Errorf("List %q (-want +got):\n%s", prefix, diff)
		}
	}
	// Private keys show for those who ask. The tree may keep some of its own.
	for prefix, want := range map[string][]layout.Key{
		".nixstatic/":  {".nixstatic/a", ".nixstatic/b/c"},
		".nixstatic/a": {".nixstatic/a"},
		".nixstatic/b": {".nixstatic/b/c"},
	} {
		got := list(t, tree, prefix)
		for _, key := range want {
			if !slices.Contains(got, key) {
				t.Errorf("List %q = %v, lacks %s", prefix, got, key)
			}
		}
	}
}

func testListTop(t *testing.T, tree layout.Tree) {
	keys := fill(t, tree)
	var want []string
	for _, key := range keys {
		folder, _, inside := strings.Cut(string(key), "/")
		switch {
		case !inside:
			want = append(want, string(key))
		case want[len(want)-1] != folder+"/":
			want = append(want, folder+"/")
		}
	}
	for n := range want {
		var got []string
		for e, err := range layout.ListTop(t.Context(), tree) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Key)+e.Folder)
			if e.Folder == "" {
				info, err := tree.Stat(t.Context(), e.Key)
				if err != nil || info.Size != e.Size || info.ETag != e.ETag {
					t.Errorf("ListTop has %+v, Stat %+v, %v", e.Info, info, err)
				}
			}
			if len(got) > n {
				break
			}
		}
		if diff := cmp.Diff(want[:n+1], got); diff != "" {
			t.Errorf("ListTop stopped after %d (-want +got):\n%s", n+1, diff)
		}
	}
}

// testListNames: of objects whose name is enough, there is a key at least; of the others
// all that List tells.
func testListNames(t *testing.T, tree layout.Tree) {
	fill(t, tree)
	for _, prefix := range []string{"", "nar/"} {
		var want, got, asked []layout.Key
		versions := map[layout.Key]layout.Info{}
		for info, err := range tree.List(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, info.Key)
			versions[info.Key] = info
		}
		enough := func(key layout.Key) bool { return key.Kind() == layout.KindNAR || len(key)%2 == 0 }
		for info, err := range layout.ListNames(t.Context(), tree, prefix, func(key layout.Key) bool {
			asked = append(asked, key)
			return enough(key)
		}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
			if full := versions[info.Key]; (!enough(info.Key) || info.ETag != "") && (info.ETag != full.ETag || info.Size != full.Size) {
				t.Errorf("ListNames has %+v, List %+v", info, full)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ListNames %q (-want +got):\n%s", prefix, diff)
		}
		for _, folder := range []string{"", "nar/", "log/"} {
			of := func(keys []layout.Key) (in []layout.Key) {
				for _, key := range keys {
					if before, _, _ := strings.Cut(string(key), "/"); before+"/" == folder || before == string(key) && folder == "" {
						in = append(in, key)
					}
				}
				return in
			}
			if diff := cmp.Diff(of(want), of(asked)); len(asked) > 0 && diff != "" {
				t.Errorf("ListNames %q asks in another order (-want +got):\n%s", prefix, diff)
			}
		}
	}
}

func testListStop(t *testing.T, tree layout.Tree) {
	keys := fill(t, tree)
	for n := range keys {
		var got []layout.Key
		for info, err := range tree.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, info.Key); len(got) > n {
				break
			}
		}
		if diff := cmp.Diff(keys[:n+1], got); diff != "" {
			t.Errorf("List stopped after %d (-want +got):\n%s", n+1, diff)
		}
	}
}

// testListPages has more keys than object stores put on a page, which is 1000.
func testListPages(t *testing.T, tree layout.Tree) {
	const n = 2103
	var group []layout.Object
	var keys []layout.Key
	for i := range n {
		keys = append(keys, logKey(i))
		group = append(group, layout.Object{Key: logKey(i), Body: layout.Bytes([]byte{'x'})})
	}
	if _, err := layout.PutBatch(t.Context(), tree, group); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys, list(t, tree, "")); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if got := list(t, tree, "log/0000000000000000000000000000"); len(got) != n {
		t.Errorf("List by prefix has %d of %d keys", len(got), n)
	}
	// Objects may go while one lists: what stays is seen nevertheless.
	var got []layout.Key
	for info, err := range tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
		if len(got)%100 == 0 {
			if err := tree.Delete(t.Context(), info.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("List while deleting what was seen (-want +got):\n%s", diff)
	}
}

package adopt

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// accepted fails unless a deep check accepts a tree.
func accepted(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("the tree has problems:\n%v", err)
	}
}

func run(t *testing.T, tree layout.Tree, o Options) Outcome {
	t.Helper()
	out, err := Run(t.Context(), tree, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// foreign makes a tree as another program leaves it: no listings, NARs named by the
// hash of the NAR, no FileHash, no nix-cache-info.
func foreign(t *testing.T, tree layout.Tree) *treetest.Paths {
	t.Helper()
	from := treetest.NewMem(nil)
	c := treetest.Populate(t, from)
	for _, p := range c.Paths {
		n := treetest.Record(t, from, p.Info.Path.Name())
		text, err := layout.ReadAll(t.Context(), from, layout.Key(n.URL))
		if err != nil {
			t.Fatal(err)
		}
		n.URL = string(layout.NARKey(n.NarHash, n.Compression.Extension()))
		n.FileHash, n.FileSize, n.Sigs = layout.Hash{}, 0, nil
		n.Extra = []string{`Provenance: {"a":1}`, "Sig: pq-1:" + strings.Repeat("A", 100)}
		treetest.PutText(t, tree, layout.Key(n.URL), string(text))
		treetest.PutText(t, tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	}
	return c
}

func TestForeign(t *testing.T) {
	dir := treetest.OpenDir(t, filepath.Join(t.TempDir(), "tree"))
	for name, tree := range map[string]layout.Tree{"Dir": dir, "Mem": treetest.NewMem(nil)} {
		t.Run(name, func(t *testing.T) {
			c := foreign(t, tree)
			key, err := signer.Generate("adopted-1")
			if err != nil {
				t.Fatal(err)
			}
			memory := filepath.Join(t.TempDir(), "memory")
			o := Options{Keys: []signer.SecretKey{key}, Memory: memory, DebugInfo: true}
			before := treetest.Contents(t, tree)
			dry := o
			dry.Dry = true
			told := run(t, tree, dry)
			if diff := cmp.Diff(before, treetest.Contents(t, tree)); diff != "" {
				t.Errorf("a dry run changed the tree:\n%s", diff)
			}
			out := run(t, tree, o)
			accepted(t, tree)
			n := int64(len(c.Paths))
			if out.Paths != n || out.Listings != n || out.Signed != n || out.Records != n || !out.CacheInfo || out.Links == 0 || len(out.Quarantined) > 0 {
				t.Errorf("%+v", out)
			}
			if told.Paths != out.Paths || told.Moved != out.Moved || told.Records != out.Records || told.Listings != out.Listings || told.Links != out.Links {
				t.Errorf("a dry run tells %+v, and %+v is done", told, out)
			}
			for _, p := range c.Paths {
				r := treetest.Record(t, tree, p.Info.Path.Name())
				if r.FileHash.IsZero() || r.FileSize == 0 || len(r.Extra) != 2 {
					t.Errorf("%s: %s", p.Info.Path, r.Marshal("/nix/store"))
				}
			}
			for key := range before {
				if _, err := tree.Stat(t.Context(), key); err != nil {
					t.Errorf("a client that remembers %s: %v", key, err)
				}
			}
			if again := run(t, tree, o); again.Unchanged != n || again.Records+again.Listings+again.Links > 0 {
				t.Errorf("a second run: %+v", again)
			}
			// Damage after the first run is found all the same.
			victim := treetest.Record(t, tree, "app")
			treetest.PutText(t, tree, layout.Key(victim.URL), "no NAR")
			if again := run(t, tree, o); len(again.Quarantined) == 0 {
				t.Errorf("damage after the first run was passed over: %+v", again)
			}
			accepted(t, tree)
		})
	}
}

func TestRecompress(t *testing.T) {
	tree := treetest.NewMem(nil)
	c := foreign(t, tree)
	out := run(t, tree, Options{Method: compress.Xz, Level: 1})
	accepted(t, tree)
	if out.Recompressed == 0 || out.Paths != int64(len(c.Paths)) {
		t.Errorf("%+v", out)
	}
	for _, p := range c.Paths {
		if r := treetest.Record(t, tree, p.Info.Path.Name()); r.Compression != compress.Xz {
			t.Errorf("%s is %s", p.Info.Path, r.Compression)
		}
	}
}

// damages are ways in which a tree of others can be wrong. Each returns what is to be
// in the quarantine afterwards: keys, or "app" for the record of that path.
var damages = map[string]func(t *testing.T, tree layout.Tree) []string{
	"the NAR is missing": func(t *testing.T, tree layout.Tree) []string {
		remove(t, tree, narOf(t, tree, "app"))
		return []string{"app"}
	},
	"the NAR is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { return b[:len(b)-7] })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR has a byte changed": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR is empty": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func([]byte) []byte { return nil })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR is another one": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, narOf(t, tree, "lib"))
		edit(t, tree, narOf(t, tree, "app"), func([]byte) []byte { return other })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the NAR has bytes behind it": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, narOf(t, tree, "app"), func(b []byte) []byte { return append(b, "more"...) })
		return []string{"app", string(narOf(t, tree, "app"))}
	},
	"the record is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func(b []byte) []byte { return b[:len(b)-20] })
		return []string{"app"}
	},
	"the record is a web page": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return []byte("<html>\n") })
		return []string{"app"}
	},
	"the record is empty": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return nil })
		return []string{"app"}
	},
	"the record is that of another path": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, record(t, tree, "lib"))
		edit(t, tree, record(t, tree, "app"), func([]byte) []byte { return other })
		return []string{"app"}
	},
	"the record is too large": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, record(t, tree, "app"), func(b []byte) []byte { return append(b, bytes.Repeat([]byte("A: b\n"), 1<<20)...) })
		return []string{"app"}
	},
	"the NarHash is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarHash[3] ^= 1 })
		return []string{"app"}
	},
	"the NarSize is too small": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarSize-- })
		return []string{"app"}
	},
	"the NarSize is too large": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.NarSize++ })
		return []string{"app"}
	},
	"the content address is wrong": func(t *testing.T, tree layout.Tree) []string {
		other := treetest.Record(t, tree, "env")
		alter(t, tree, "app", func(n *layout.NarInfo) { n.CA = other.CA })
		return []string{"app"}
	},
	"the URL leads out": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.URL = "https://other.example.org/nar/x.nar.zst" })
		return []string{"app"}
	},
	"the URL leads up": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.URL = "../x.nar.zst" })
		return []string{"app"}
	},
	"a reference is missing": func(t *testing.T, tree layout.Tree) []string {
		all := slices.Sorted(maps.Keys(above(t, tree, "lib")))
		remove(t, tree, record(t, tree, "lib"))
		return all
	},
	"a reference is damaged": func(t *testing.T, tree layout.Tree) []string {
		all := append(slices.Sorted(maps.Keys(above(t, tree, "lib"))), "lib", string(narOf(t, tree, "lib")))
		edit(t, tree, narOf(t, tree, "lib"), func(b []byte) []byte { return b[:5] })
		return all
	},
	"a debug link leads nowhere": func(t *testing.T, tree layout.Tree) []string {
		key := "debuginfo/abcdef0123456789abcdef0123456789abcdef77"
		treetest.PutText(t, tree, layout.Key(key), `{"archive":"../nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz","member":"x"}`)
		return []string{key}
	},
	"a debug link leads to a file that is not there": func(t *testing.T, tree layout.Tree) []string {
		key := "debuginfo/abcdef0123456789abcdef0123456789abcdef77"
		treetest.PutText(t, tree, layout.Key(key), `{"archive":"../`+string(narOf(t, tree, "app"))+`","member":"x"}`)
		return []string{key}
	},
	"a realisation is no JSON": func(t *testing.T, tree layout.Tree) []string {
		key := "realisations/sha256:" + strings.Repeat("0", 64) + "!out.doi"
		treetest.PutText(t, tree, layout.Key(key), `{`)
		return []string{key}
	},
	"a NAR that nothing leads to is not what its name says": func(t *testing.T, tree layout.Tree) []string {
		key := "nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.xz"
		treetest.PutText(t, tree, layout.Key(key), "x")
		return []string{key}
	},
	"nix-cache-info is damaged": func(t *testing.T, tree layout.Tree) []string {
		treetest.PutText(t, tree, layout.CacheInfoKey, "StoreDir: nix\n")
		return []string{"nix-cache-info"}
	},
	// The rest is put right, and nothing is set aside.
	"the compression is another one": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.Compression = compress.Xz })
		return nil
	},
	"the FileHash is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.FileHash[0] ^= 1 })
		return nil
	},
	"the FileSize is wrong": func(t *testing.T, tree layout.Tree) []string {
		alter(t, tree, "app", func(n *layout.NarInfo) { n.FileSize++ })
		return nil
	},
	"the listing is cut off": func(t *testing.T, tree layout.Tree) []string {
		edit(t, tree, layout.ListingKey(treetest.Record(t, tree, "app").Path), func(b []byte) []byte { return b[:len(b)-3] })
		return nil
	},
	"the listing is another one": func(t *testing.T, tree layout.Tree) []string {
		other := read(t, tree, layout.ListingKey(treetest.Record(t, tree, "lib").Path))
		edit(t, tree, layout.ListingKey(treetest.Record(t, tree, "app").Path), func([]byte) []byte { return other })
		return nil
	},
	"nix-cache-info is missing": func(t *testing.T, tree layout.Tree) []string {
		remove(t, tree, layout.CacheInfoKey)
		return nil
	},
}

func narOf(t *testing.T, tree layout.Tree, name string) layout.Key {
	return layout.Key(treetest.Record(t, tree, name).URL)
}

func record(t *testing.T, tree layout.Tree, name string) layout.Key {
	return layout.NarInfoKey(treetest.Record(t, tree, name).Path)
}

func read(t *testing.T, tree layout.Tree, key layout.Key) []byte {
	t.Helper()
	body, _, err := tree.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func edit(t *testing.T, tree layout.Tree, key layout.Key, how func([]byte) []byte) {
	t.Helper()
	treetest.PutText(t, tree, key, string(how(bytes.Clone(read(t, tree, key)))))
}

func remove(t *testing.T, tree layout.Tree, key layout.Key) {
	t.Helper()
	if err := tree.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func alter(t *testing.T, tree layout.Tree, name string, how func(*layout.NarInfo)) {
	t.Helper()
	n := treetest.Record(t, tree, name)
	how(n)
	treetest.PutText(t, tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
}

// above returns the names of what refers to a path, all the way up.
func above(t *testing.T, tree layout.Tree, name string) map[string]bool {
	names := map[string]bool{}
	paths := map[layout.StorePath]bool{}
	for n := range treetest.Records(t, tree) {
		if n.Path.Name() == name {
			paths[n.Path] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for n := range treetest.Records(t, tree) {
			if !paths[n.Path] && slices.ContainsFunc(n.References, func(r layout.StorePath) bool { return paths[r] }) {
				paths[n.Path], names[n.Path.Name()], changed = true, true, true
			}
		}
	}
	return names
}

// TestDamage: whatever is wrong is put right or goes into the quarantine, and nothing
// else does. All bytes are still there.
func TestDamage(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := treetest.OpenDir(t, filepath.Join(t.TempDir(), "tree"))
			c := treetest.Populate(t, tree)
			hashes := map[string]string{}
			for _, p := range c.Paths {
				hashes[p.Info.Path.Name()] = string(layout.NarInfoKey(p.Info.Path))
			}
			var want []string
			for _, w := range damage(t, tree) {
				if key := hashes[w]; key != "" {
					w = key
				}
				want = append(want, w)
			}
			slices.Sort(want)
			out := run(t, tree, Options{})
			accepted(t, tree)
			var got []string
			for _, f := range out.Quarantined {
				got = append(got, string(f.Key))
				if _, err := tree.Stat(t.Context(), layout.QuarantineKey(f.Key, 0)); err != nil {
					t.Errorf("what was set aside is gone: %v", err)
				}
				why, err := layout.ReadAll(t.Context(), tree, layout.QuarantineReason(layout.QuarantineKey(f.Key, 0)))
				if err != nil || !strings.HasPrefix(string(why), f.Kind+" ") {
					t.Errorf("the reason is %q, %v", why, err)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("in the quarantine (-want +got):\n%s", diff)
			}
			if len(out.Unknown) > 0 {
				t.Errorf("not known: %q", out.Unknown)
			}
			records := 0
			for range treetest.Records(t, tree) { // all can be read
				records++
			}
			aside := slices.DeleteFunc(got, func(key string) bool { return !strings.HasSuffix(key, ".narinfo") })
			if lost := len(c.Paths) - records - len(aside); name == "a reference is missing" && lost != 1 || name != "a reference is missing" && lost != 0 {
				t.Errorf("%d paths, of which %d are there and %d set aside", len(c.Paths), records, len(aside))
			}
		})
	}
	if len(damages) < 20 {
		t.Errorf("%d kinds of damage", len(damages))
	}
}

// TestBack: what lacked another path alone comes back with it.
func TestBack(t *testing.T) {
	tree := treetest.NewMem(nil)
	c := treetest.Populate(t, tree)
	lib := treetest.Record(t, tree, "lib")
	text := read(t, tree, layout.NarInfoKey(lib.Path))
	remove(t, tree, layout.NarInfoKey(lib.Path))
	out := run(t, tree, Options{})
	accepted(t, tree)
	if len(out.Quarantined) == 0 {
		t.Fatalf("%+v", out)
	}
	missing := len(out.Quarantined)
	// By an upstream, which the outcome of a dry run already tells.
	provided := func(_ context.Context, p layout.StorePath) (bool, error) { return p == lib.Path, nil }
	if out := run(t, tree, Options{Dry: true, Provided: provided}); len(out.Back) != missing || len(out.Quarantined) > 0 {
		t.Errorf("a dry run with an upstream: %+v", out)
	}
	treetest.PutText(t, tree, layout.NarInfoKey(lib.Path), string(text))
	out = run(t, tree, Options{})
	accepted(t, tree)
	if len(out.Back) != missing || out.Paths != int64(len(c.Paths)) || len(out.Quarantined) > 0 {
		t.Errorf("%+v", out)
	}
	if got := treetest.Contents(t, tree); slices.ContainsFunc(slices.Collect(maps.Keys(got)), func(k layout.Key) bool {
		return strings.HasPrefix(string(k), layout.QuarantinePrefix)
	}) {
		t.Error("the quarantine is not empty")
	}
}

// TestUnknownStays: an upstream that cannot be asked sets no path aside (I5).
func TestUnknownStays(t *testing.T) {
	tree := treetest.NewMem(nil)
	treetest.Populate(t, tree)
	remove(t, tree, record(t, tree, "lib"))
	failed := errors.New("no answer")
	out := run(t, tree, Options{Provided: func(context.Context, layout.StorePath) (bool, error) { return false, failed }})
	if len(out.Quarantined) > 0 || len(out.Unknown) == 0 {
		t.Errorf("%+v", out)
	}
}

// TestNothing: a directory without a cache is left alone.
func TestNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	tree := treetest.OpenDir(t, dir)
	if _, err := Run(t.Context(), tree, Options{}); !errors.Is(err, ErrNoCache) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nix-cache-info")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestFaults: at whichever operation a run dies, every path that was right can be read,
// and the next run completes the work.
func TestFaults(t *testing.T) {
	for _, o := range []Options{{DebugInfo: true}, {Method: compress.Gzip, Level: 1}} {
		left := treetest.NewMem(nil)
		c := foreign(t, left)
		edit(t, left, narOf(t, left, "app"), func(b []byte) []byte { return b[:len(b)/2] })
		for at := 1; ; at += quick.Step(17) {
			tree := left.Clone(nil)
			faulty := &treetest.Faulty{Tree: tree}
			faulty.Fault = treetest.Fault{At: at, Down: true, Err: errors.New("cut off")}
			o.Memory = filepath.Join(t.TempDir(), "memory")
			_, err := Run(t.Context(), faulty, o)
			for _, p := range c.Paths {
				if p.Info.Path.Name() == "app" || slices.ContainsFunc(p.Info.References, func(r layout.StorePath) bool { return r.Name() == "app" }) {
					continue
				}
				n := treetest.Record(t, tree, p.Info.Path.Name())
				info, err := layout.FindNAR(t.Context(), tree, n)
				if err != nil {
					t.Fatalf("fault %d: %s: %v", at, p.Info.Path, err)
				}
				body, _, err := tree.Get(t.Context(), info.Key)
				if err != nil {
					t.Fatal(err)
				}
				found, err := layout.Inspect(t.Context(), body, n.Compression, "", &n.PathInfo)
				if err != nil || found.Broken != nil || found.NarHash != n.NarHash {
					t.Fatalf("fault %d: %s: %v, %+v", at, p.Info.Path, err, found)
				}
				found.Close()
				body.Close()
			}
			done := err == nil && faulty.Ops() < at
			remove(t, tree, layout.RunLeaseKey) // whose time is over
			if out := run(t, tree, o); len(out.Unknown) > 0 {
				t.Fatalf("fault %d: %+v", at, out)
			}
			accepted(t, tree)
			if t.Failed() {
				t.Fatalf("after fault %d", at)
			}
			if done {
				if at < 50 {
					t.Errorf("only %d operations", at)
				}
				break
			}
		}
	}
}

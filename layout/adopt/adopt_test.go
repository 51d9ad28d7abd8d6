package adopt

import (
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

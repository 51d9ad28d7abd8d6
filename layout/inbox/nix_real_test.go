//go:build real

package inbox

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestCachesOfNix uploads caches that three generations of Nix wrote, with
// listings, debug links and signatures, in random orders, some of it to a
// directory. The tree then has byte for byte what Nix wrote, the other spelling
// of its debug links, and its listings in our form.
func TestCachesOfNix(t *testing.T) {
	store := peers.Closure(t)
	var roots []string
	for _, name := range []string{"builder.sh", "hello-2.10-debug", "odd?name=1+2", "tree", "flat", "libgcc-s1-"} {
		roots = append(roots, store.Named(t, name))
	}
	key, err := signer.Generate("nix-1")
	if err != nil {
		t.Fatal(err)
	}
	secret := t.TempDir() + "/secret"
	if err := key.Save(secret); err != nil {
		t.Fatal(err)
	}
	for i, nix := range peers.Nixes(t) {
		for j, method := range []string{"zstd", "gzip", "none"} {
			t.Run(nix.Version+"/"+method, func(t *testing.T) {
				dir := t.TempDir()
				nix.Output(t, "nix", append([]string{"copy", "--store", store.Root, "--to",
					"file://" + dir + "?write-nar-listing=true&index-debug-info=true&secret-key=" + secret + "&compression=" + method}, roots...)...)
				theirs, err := layout.OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer theirs.Close()
				objects := contents(t, theirs)
				delete(objects, layout.CacheInfoKey) // ours stays
				keys := slices.Sorted(maps.Keys(objects))
				if len(keys) < 3*len(roots) {
					t.Fatalf("Nix wrote %d files", len(keys))
				}
				want := maps.Clone(objects)
				want[layout.CacheInfoKey] = string(layout.DefaultCacheInfo().Marshal())
				for key, text := range objects {
					if key.Kind() == layout.KindDebugInfo {
						want[layout.Key(strings.TrimSuffix(string(key), ".debug"))] = text
					}
					if key.Kind() == layout.KindNarInfo {
						want[key] = withoutSystem(text)
					}
					if key.Kind() == layout.KindListing {
						want[key] = ourListing(t, text)
					}
				}
				for seed := range uint64(6) {
					rng := rand.New(rand.NewPCG(seed, uint64(i*10+j)))
					rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
					edit := func(c *Config) {
						c.Trusted, c.RequireSignature = signer.Trusted{key.Public()}, true
						c.Writer.Spool = nil
					}
					tr := newTrial(t, edit)
					if seed == 0 {
						ours, err := layout.OpenDir(t.TempDir() + "/cache")
						if err != nil {
							t.Fatal(err)
						}
						defer ours.Close()
						if _, err := layout.Init(t.Context(), ours, layout.DefaultCacheInfo()); err != nil {
							t.Fatal(err)
						}
						tr = trialOn(t, ours, edit)
					}
					for _, key := range keys {
						if _, err := tr.send(key, objects[key], false); err != nil {
							t.Fatalf("seed %d: put %s: %v", seed, key, err)
						}
						if got := tr.read(key); got != objects[key] {
							t.Errorf("seed %d: %s shows\n%.500s", seed, key, got)
						}
					}
					tr.wantTree(want, fsck.Options{Trusted: tr.cfg.Trusted})
					if t.Failed() {
						t.Fatal(fmt.Sprint("seed ", seed))
					}
				}
			})
		}
	}
}

// ourListing returns a listing in our form.
func ourListing(t testing.TB, text string) string {
	t.Helper()
	node, err := nar.ParseListing(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := nar.NewListingWriter(&out)
	if err := errors.Join(node.Walk(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// withoutSystem drops the one field that old versions of Nix write and that
// means nothing to any.
func withoutSystem(narinfo string) string {
	lines := slices.Collect(strings.Lines(narinfo))
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "System: ") }), "")
}

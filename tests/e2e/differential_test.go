//go:build real

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestSameAsNix compares our tree with that of nix copy for the same paths and the
// same key: both are equal but for how the NARs are compressed. The signatures are
// equal byte for byte, so what they cover is as well.
func TestSameAsNix(t *testing.T) {
	ours, store := fullTree(t), peers.Closure(t)
	for _, nix := range []peers.Nix{peers.Old(t), peers.Newest(t)} {
		t.Run(nix.Version, func(t *testing.T) {
			theirs := t.TempDir()
			nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", store.Root,
				"--to", fileURL(theirs)+"?compression=none&write-nar-listing=true&index-debug-info=true&secret-key="+ours.Key.File,
				store.Top)
			for _, path := range store.Paths {
				compareRecords(t, ours.Dir, theirs, path)
				compareListings(t, ours.Dir, theirs, path)
			}
			compareDebugLinks(t, ours.Dir, theirs)
		})
	}
}

func compareRecords(t *testing.T, ours, theirs, path string) {
	t.Helper()
	fields := []string{"StorePath", "NarHash", "NarSize", "References", "Deriver", "Sig", "CA"}
	got, want := readRecord(t, ours, path), readRecord(t, theirs, path)
	if diff := cmp.Diff(want.of(fields...), got.of(fields...)); diff != "" {
		t.Errorf("narinfo of %s (-Nix +nixstatic):\n%s", path, diff)
	}
	// Nothing else is written, and nothing twice.
	for field, values := range got {
		if _, ok := want[field]; !ok || len(values) != len(want[field]) {
			t.Errorf("narinfo of %s: %d fields %s, Nix writes %d", path, len(values), field, len(want[field]))
		}
	}
	if got, want := got.one(t, "URL"), "nar/"+strings.TrimPrefix(got.one(t, "FileHash"), "sha256:")+".nar.zst"; got != want {
		t.Errorf("narinfo of %s: URL %s, want %s", path, got, want)
	}
}

func compareListings(t *testing.T, ours, theirs, path string) {
	t.Helper()
	name := hashPart(path) + ".ls"
	got, want := readJSON(t, filepath.Join(ours, name)), readJSON(t, filepath.Join(theirs, name))
	if listing, ok := got.(map[string]any); ok {
		delete(listing, "seek") // only we tell of frames
	}
	if diff := cmp.Diff(executables(want), executables(got)); diff != "" {
		t.Errorf("listing of %s (-Nix +nixstatic):\n%s", path, diff)
	}
}

// executables drops "executable": false, which only Nix from 2.35 writes.
func executables(node any) any {
	if m, ok := node.(map[string]any); ok {
		if m["executable"] == false {
			delete(m, "executable")
		}
		for _, child := range m {
			executables(child)
		}
	}
	return node
}

func compareDebugLinks(t *testing.T, ours, theirs string) {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(theirs, "debuginfo", "*"))
	if err != nil || len(links) < 2 {
		t.Fatalf("Nix wrote %d links to debug files, %v", len(links), err)
	}
	got, err := os.ReadDir(filepath.Join(ours, "debuginfo"))
	if err != nil {
		t.Fatal(err)
	}
	// We write each under two names, for the two kinds of readers.
	if len(got) != 2*len(links) {
		t.Errorf("%d links to debug files, want twice Nix's %d", len(got), len(links))
	}
	for _, link := range links {
		want := readJSON(t, link).(map[string]any)
		for _, name := range []string{filepath.Base(link), strings.TrimSuffix(filepath.Base(link), ".debug")} {
			got := readJSON(t, filepath.Join(ours, "debuginfo", name)).(map[string]any)
			if got["member"] != want["member"] {
				t.Errorf("debuginfo/%s: member %v, want %v", name, got["member"], want["member"])
			}
			archive := filepath.Join(ours, "debuginfo", got["archive"].(string))
			if _, err := os.Stat(archive); err != nil {
				t.Errorf("debuginfo/%s: %v", name, err)
			}
		}
	}
}

// Every version of the daemon tells us the same of the same paths.
func TestSameFromEveryDaemon(t *testing.T) {
	ours, store := someTree(t), peers.Closure(t)
	want := snap(t, ours.Dir)
	// A setting that a daemon alone knows what to do with.
	uri := "local?root=" + store.Root + "&path-info-cache-size=1000"
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			p := newest(t)
			p.Nix = nix
			tree := filepath.Join(t.TempDir(), "cache")
			p.Output(t, append([]string{"export", "--store", uri, "--to", tree, "-k", ours.Key.File,
				"--logs", "--debug-info"}, somePaths(t)...)...)
			if diff := cmp.Diff(want, snap(t, tree)); diff != "" {
				t.Errorf("the tree differs from that of another version (-want +got):\n%s", diff)
			}
		})
	}
}

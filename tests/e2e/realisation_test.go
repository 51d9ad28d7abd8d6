//go:build real

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A store in a place of its own can build without a sandbox: its paths are what
// they are called. Another with the same logical directory can have its files
// elsewhere.
func storeAt(storeDir, state string) string {
	return "local?store=" + storeDir + "&real=" + filepath.Join(state, "store") +
		"&state=" + filepath.Join(state, "state") + "&log=" + filepath.Join(state, "log")
}

// The outputs of content-addressed derivations come with their realisations. They
// say what Nix's own say, and a client that may not build finds the outputs
// through them: of the directory that the store went into, and of a tree that
// was made from that one.
func TestRealisations(t *testing.T) {
	expression, err := filepath.Abs("testdata/realised.nix")
	if err != nil {
		t.Fatal(err)
	}
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			p := newest(t)
			p.Nix = nix
			key := p.NewKey(t, "ca-1")
			builder, err := filepath.EvalSymlinks(peers.StoreRoot(t))
			if err != nil {
				t.Fatal(err)
			}
			storeDir := filepath.Join(builder, "store")
			store := storeAt(storeDir, builder)
			out := nix.Output(t, "nix-build", "--store", store, "--no-out-link", expression, "-A", "top")
			tree := filepath.Join(t.TempDir(), "cache")
			r := p.Run(t, "export", "--store", store, "--to", tree, "-k", key.File, out).Want(t, 0)
			p.Output(t, "verify", "--deep", tree)
			again := filepath.Join(t.TempDir(), "cache")
			p.Output(t, "export", "--from", tree, "--to", again, "--trusted-public-key", key.Public, out)

			// Told by expression rather than by path, nix copy writes realisations.
			theirs, dir := t.TempDir(), "?store="+storeDir
			nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", store, "--to", fileURL(theirs)+dir, "--file", expression, "top")
			compareRealisations(t, theirs, tree)
			if !strings.Contains(r.Stderr, " realisations") {
				t.Errorf("it does not tell of realisations: %s", r.Stderr)
			}
			server := nixtest.ServeNginx(t, tree)
			for name, from := range map[string]string{"nginx": server.URL, "the second tree": fileURL(again)} {
				client := peers.StoreRoot(t)
				got := nix.Output(t, "nix-build", "--store", storeAt(storeDir, client), "--no-out-link", expression, "-A", "top",
					"--max-jobs", "0", "--option", "substituters", from+dir, "--option", "trusted-public-keys", key.Public)
				if got != out {
					t.Errorf("from %s: the output is %s, want %s", name, got, out)
				}
				text, err := os.ReadFile(filepath.Join(client, "store", filepath.Base(out)))
				if err != nil || !strings.HasPrefix(string(text), storeDir) {
					t.Errorf("from %s: the output holds %q, %v", name, text, err)
				}
			}
		})
	}
}

// compareRealisations compares ours with what nix copy writes, but for the
// signatures: Nix takes those of the store, which has no key.
func compareRealisations(t testing.TB, theirs, tree string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(theirs, "realisations", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("Nix writes %d realisations, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		want := readJSON(t, file).(map[string]any)
		got := readJSON(t, filepath.Join(tree, "realisations", name)).(map[string]any)
		if signatures, _ := got["signatures"].([]any); len(signatures) == 0 {
			t.Errorf("%s is not signed", name)
		}
		delete(want, "signatures")
		delete(got, "signatures")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-Nix +nixstatic):\n%s", name, diff)
		}
	}
}

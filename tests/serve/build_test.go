//go:build real

package serve_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A builder is a machine that builds: it has a store in a place of its own,
// where a build needs no sandbox.
type builder struct {
	peers.Nix
	dir, storeDir, store string
}

const expression = "testdata/built.nix"

func newBuilder(t testing.TB, nix peers.Nix) *builder {
	t.Helper()
	dir, err := filepath.EvalSymlinks(peers.StoreRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{Nix: fresh(t, nix), dir: dir, storeDir: filepath.Join(dir, "store")}
	b.store = storeAt(b.storeDir, dir)
	return b
}

// storeAt names a store whose paths are called after storeDir, and are in dir.
func storeAt(storeDir, dir string) string {
	return fmt.Sprintf("local?store=%s&real=%s/store&state=%s/state&log=%s/log", storeDir, dir, dir, dir)
}

func (b *builder) build(t testing.TB, attr string, args ...string) string {
	t.Helper()
	return b.Output(t, "nix-build", append([]string{"--store", b.store, "--no-out-link", expression, "-A", attr}, args...)...)
}

// The outputs of content-addressed derivations are pushed with what tells of
// them, and a machine that may not build finds them through that.
func TestPushRealisations(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, nix)
			s := start(t, "--store-dir", b.storeDir)
			dir := "store=" + b.storeDir
			out := b.build(t, "top")
			b.Output(t, "nix", "copy", "--no-check-sigs", "--store", b.store, "--to", s.upload(dir), "--file", expression, "top")
			found, err := filepath.Glob(filepath.Join(s.Tree, "*", "*.doi"))
			if more, _ := filepath.Glob(filepath.Join(s.Tree, "*", "*", "*.doi")); err != nil || len(found)+len(more) == 0 {
				t.Errorf("no realisation in the tree: %v", err)
			}
			verify(t, s.Tree, s.Key.Public)

			client := peers.StoreRoot(t)
			got := fresh(t, nix).Output(t, "nix-build", "--store", storeAt(b.storeDir, client), "--no-out-link", expression, "-A", "top",
				"--max-jobs", "0", "--option", "substituters", s.URL+"?"+dir, "--option", "trusted-public-keys", s.Key.Public)
			if got != out {
				t.Errorf("the output is %s, want %s", got, out)
			}
		})
	}
}

// Build logs, one of them with a name that URLs do not like and one empty, come
// back as they were, from both URLs.
func TestPushLogs(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, nix)
			s := start(t, "--store-dir", b.storeDir)
			dir := "store=" + b.storeDir
			for _, attr := range []string{"logged", "silent"} {
				b.build(t, attr)
				b.Output(t, "nix", "store", "copy-log", "--store", b.store, "--to", s.upload(dir), "--file", expression, attr)
				drv := b.Output(t, "nix-instantiate", "--store", b.store, expression, "-A", attr)
				want := map[string]string{"logged": "the log of it", "silent": ""}[attr]
				// A question mark is a question mark to every Nix: half the name arrives
				// as a query.
				if status, body := get(t, s.URL+"/log/"+filepath.Base(drv)); status != 200 || strings.TrimSpace(body) != want {
					t.Errorf("the log of %s is %q, status %d", attr, body, status)
				}
				if nix.Version == peers.Old(t).Version {
					continue // it wants the derivation itself in the cache before it looks for the log
				}
				for _, from := range []string{s.upload(dir), s.URL + "?" + dir} {
					if got := fresh(t, nix).Output(t, "nix", "log", "--store", from, drv); strings.TrimSpace(got) != want {
						t.Errorf("the log of %s at %s is %q, want %q", attr, from, got, want)
					}
				}
			}
			verify(t, s.Tree)
		})
	}
}

// CI does this: it pushes each build as soon as it is done. Nix 2.8.0 tells its
// hook of no paths at all, whatever it built.
func TestPostBuildHook(t *testing.T) {
	for _, nix := range peers.Nixes(t)[1:] {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, nix)
			s := start(t, "--store-dir", b.storeDir)
			hook := filepath.Join(t.TempDir(), "hook")
			script := fmt.Sprintf("#!/bin/sh\nset -eu\nexport HOME=%s\nexec %s --extra-experimental-features nix-command copy --no-check-sigs --store '%s' --to '%s' $OUT_PATHS\n",
				t.TempDir(), b.Bin("nix"), b.store, s.upload("store="+b.storeDir, "compression=zstd"))
			if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			var built []string
			for _, attr := range []string{"silent", "top"} {
				built = append(built, b.build(t, attr, "--option", "post-build-hook", hook))
			}
			for _, out := range built {
				if _, err := os.Stat(filepath.Join(s.Tree, hashPart(out)+".narinfo")); err != nil {
					t.Errorf("%s was not pushed: %v", out, err)
				}
			}
			verify(t, s.Tree, s.Key.Public)
		})
	}
}

//go:build real

package nar

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nix runs a program of the real Nix in a store of its own and returns its output.
func nix(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: install Nix (Debian: nix-bin; `make test` does it)", err)
	}
	home := t.TempDir()
	cmd := exec.Command(name, args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NIX_") && !strings.HasPrefix(kv, "XDG_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+home, "NIX_CONF_DIR="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &stderr)
	}
	return out
}

// nixDump returns the NAR that Nix makes of path.
func nixDump(t testing.TB, path string) []byte { return nix(t, "nix-store", "--dump", path) }

// nixListing returns the listing that Nix writes for a copy of path.
func nixListing(t testing.TB, path string) []byte {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { // stores are read-only
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	store, cache := filepath.Join(dir, "store"), filepath.Join(dir, "cache")
	added := strings.TrimSpace(string(nix(t, "nix-store", "--store", store, "--add", path)))
	nix(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs",
		"--store", store, "--to", "file://"+cache+"?write-nar-listing=true&compression=none", added)
	found, err := filepath.Glob(filepath.Join(cache, "*.ls"))
	if err != nil || len(found) != 1 {
		t.Fatalf("nix copy wrote listings %q, want one (%v)", found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

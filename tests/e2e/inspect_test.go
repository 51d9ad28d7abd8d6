//go:build real

package e2e_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// largePath makes a tree with a path whose NAR has several frames.
func largePath(t *testing.T, p nixtest.Program) (tree, path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "large")
	noise := make([]byte, 40<<20)
	rand.NewChaCha8([32]byte{2}).Read(noise)
	for name, text := range map[string]string{"a/noise": string(noise), "z/last": "the last file\n", "z/run": "#!/bin/sh\n"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "z/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../z/last", filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	tree = filepath.Join(t.TempDir(), "cache")
	return tree, p.Output(t, "add", "--to", tree, dir)
}

// A single file comes out of a large NAR behind nginx at the price of its frame, and every
// Nix sees the same in the tree as we do.
func TestOneFile(t *testing.T) {
	p := newest(t)
	tree, path := largePath(t, p)
	p.Output(t, "verify", "--deep", tree)
	listing := filepath.Join(tree, hashPart(path)+".ls")
	ours, err := os.ReadFile(listing)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ours), `,"seek":{"file":"sha256:`) {
		t.Fatalf("the listing tells of no frames: %s", ours)
	}
	server := nixtest.ServeNginx(t, tree)
	if got := p.Output(t, "cat", server.URL, path+"/a/link"); got != "the last file" {
		t.Errorf("cat: %q", got)
	}
	if sent := server.Sent(t); sent > 10<<20 {
		t.Errorf("cat of one file cost %d bytes of a NAR of 40 MiB", sent)
	}
	for _, nix := range peers.Nixes(t) {
		for _, file := range []string{"/z/last", "/z/run"} {
			if got, want := nix.Output(t, "nix", "store", "cat", "--store", server.URL, path+file), p.Output(t, "cat", server.URL, path+file); got != want {
				t.Errorf("Nix %s: cat %s: %q, ours %q", nix.Version, file, got, want)
			}
		}
		var theirs []string
		for line := range strings.Lines(nix.Output(t, "nix", "store", "ls", "-R", "--store", server.URL, path)) {
			theirs = append(theirs, strings.TrimPrefix(strings.TrimSpace(line), "./"))
		}
		var got []string
		for line := range strings.Lines(p.Output(t, "ls", "-R", server.URL, path)) {
			got = append(got, strings.TrimSpace(line))
		}
		if diff := cmp.Diff(theirs, got); diff != "" {
			t.Errorf("Nix %s: ls (-nix +nixstatic):\n%s", nix.Version, diff)
		}
	}
}

// nix-index takes "root" of a listing and passes over all other keys; a node of a type
// has the keys of that type. Here is a reader by these rules.
func TestListingForOtherReaders(t *testing.T) {
	p := newest(t)
	tree, path := largePath(t, p)
	text, err := os.ReadFile(filepath.Join(tree, hashPart(path)+".ls"))
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Type       string          `json:"type"`
		Size       *uint64         `json:"size"`
		Executable bool            `json:"executable"`
		Target     *string         `json:"target"`
		Entries    map[string]node `json:"entries"`
	}
	var listing struct {
		Root *node `json:"root"`
	}
	if err := json.Unmarshal(text, &listing); err != nil || listing.Root == nil {
		t.Fatalf("%v in %s", err, text)
	}
	z := listing.Root.Entries["z"].Entries
	if len(listing.Root.Entries) != 2 || len(z) != 2 || *z["last"].Size != 14 || !z["run"].Executable || *listing.Root.Entries["a"].Entries["link"].Target != "../z/last" {
		t.Errorf("read as %+v", listing.Root)
	}
}

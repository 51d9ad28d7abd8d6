//go:build real

package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// nasty makes a directory of every kind of node and of names that programs trip
// over. Nix itself cannot list names that are not UTF-8, so there are none.
func nasty(t testing.TB, dir string) {
	t.Helper()
	long := strings.Repeat("n", 255)
	for name, text := range map[string]string{
		"..foo":                "two dots are fine as long as more follows",
		"...":                  "",
		".hidden":              "h",
		"-rf":                  "an option?",
		"new\nline":            "\n",
		"tab\tquote\"back\\":   "x",
		"ünïcödé":              "é",
		"u\u0308":              "not normalised",
		"\u00fc":               "normalised",
		"case":                 "lower",
		"CASE":                 "upper",
		"a":                    "sorted before a-b",
		"a-b":                  "-",
		"a.b":                  ".",
		"%41 ?#&+=;":           "percent",
		"<b>":                  "markup",
		long:                   strings.Repeat("0123456", 1000),
		"seven":                "7654321",
		"eight":                "87654321",
		"nine":                 "987654321",
		"case~nix~case~hack~1": "as Nix on macOS would name it",
		"deep/" + strings.Repeat("d/", 60) + "bottom": "far down",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "a b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "program"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"dangling": "/nowhere/at all", "loop": "loop", "up": "../../..", "odd": "new\nline", "long": strings.Repeat("x/", 2000),
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNastyNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nasty-1.0")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	nasty(t, dir)
	p := newest(t)
	root, tree, theirs := peers.StoreRoot(t), filepath.Join(t.TempDir(), "cache"), t.TempDir()
	path := p.Nix.Output(t, "nix-store", "--store", root, "--add", dir)
	p.Output(t, "export", "--store", root, "--to", tree, "-c", "none", path)
	p.Output(t, "verify", "--deep", tree)

	// The NAR is what Nix makes of it, byte for byte.
	want, err := p.Nix.Command(t, "nix-store", "--store", root, "--dump", filepath.Join(root, path)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(tree, readRecord(t, tree, path).one(t, "URL")))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the NAR differs from that of nix-store --dump")
	}

	// So is the listing.
	p.Nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", root, "--to", fileURL(theirs)+"?write-nar-listing=true", path)
	compareListings(t, tree, theirs, path)

	// And every Nix makes of it what it was.
	for _, nix := range peers.Nixes(t) {
		other := peers.StoreRoot(t)
		nix.Output(t, "nix", copyArgs(fileURL(tree), other, "", path)...)
		again, err := nix.Command(t, "nix-store", "--dump", filepath.Join(other, path)).Output()
		if err != nil || !bytes.Equal(again, want) {
			t.Errorf("Nix %s: the copy has another NAR, %v", nix.Version, err)
		}
	}
	if diff := cmp.Diff(path, p.Output(t, "add", "--to", tree, dir)); diff != "" {
		t.Errorf("nixstatic add gives another path (-nix +nixstatic):\n%s", diff)
	}
}

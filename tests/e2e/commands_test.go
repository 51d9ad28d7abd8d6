//go:build real

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The commands with which people look into a cache work on a tree behind nginx.
func TestLookingIntoTheTree(t *testing.T) {
	tree, store := someTree(t), peers.Closure(t)
	server := nixtest.ServeNginx(t, tree.Dir)
	debug, odd := store.Named(t, "hello-2.10-debug"), store.Named(t, "odd?name")
	const elf = "/lib/debug/.build-id/ab/cdef0123456789abcdef0123456789abcdef01.debug"
	content, err := os.ReadFile(filepath.Join(store.Root, debug, elf))
	if err != nil {
		t.Fatal(err)
	}
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			in := func(from string, args ...string) string {
				t.Helper()
				return nix.Output(t, "nix", append(args, "--store", from)...)
			}
			if diff := cmp.Diff(in(store.Root, "store", "ls", "-lR", debug), in(server.URL, "store", "ls", "-lR", debug)); diff != "" {
				t.Errorf("nix store ls (-store +tree):\n%s", diff)
			}
			if got := in(server.URL, "store", "cat", debug+elf); got != strings.TrimSuffix(string(content), "\n") {
				t.Errorf("nix store cat gives %d bytes, want %d others", len(got), len(content))
			}
			for path, want := range map[string]string{debug: "other than the first", odd: "needs escaping"} {
				if got := in(server.URL, "log", path); !strings.Contains(got, want) {
					t.Errorf("nix log %s: %q", path, got)
				}
			}
			compareInfos(t, in(store.Root, "path-info", "--json", "-r", debug, odd), in(server.URL, "path-info", "--json", "-r", debug, odd))
			_, outputs := split(somePaths(t))
			in(server.URL, append([]string{"store", "verify", "-r", "--option", "trusted-public-keys", tree.Key.Public}, outputs...)...)
			in(fileURL(tree.Dir), "store", "verify", "--all", "--option", "trusted-public-keys", tree.Key.Public)
		})
	}
}

// compareInfos compares what nix path-info --json tells of a store and a tree.
// The versions differ in the form; what counts is that both say the same.
func compareInfos(t testing.TB, store, tree string) {
	t.Helper()
	parse := func(text string) any {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return strip(v)
	}
	if diff := cmp.Diff(parse(store), parse(tree)); diff != "" {
		t.Errorf("nix path-info --json (-store +tree):\n%s", diff)
	}
}

// strip leaves out what only one side can know: when a path was registered, and
// what its NAR in the tree is.
func strip(v any) any {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			strip(child)
		}
	case map[string]any:
		for _, field := range []string{"registrationTime", "ultimate", "signatures", "valid",
			"url", "compression", "downloadHash", "downloadSize"} {
			delete(v, field)
		}
		// A flag that one side leaves out is one that is not set.
		for field, child := range v {
			if list, ok := child.([]any); ok && field == "references" {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
			if child == nil {
				delete(v, field)
			} else {
				strip(child)
			}
		}
	}
	return v
}

// Any file or directory can be put into the tree, under the path that Nix gives
// it, and comes out again with no key at all.
func TestAdd(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{
		write("plain.txt", "text", 0o600),
		write("empty", "", 0o644),
		write("program", "#!/bin/sh\n", 0o755),
		write("odd?name=1+2_3.4-5", "odd", 0o644),
		filepath.Dir(write("folder/file", "in a folder", 0o644)),
		write("big", strings.Repeat("0123456789abcdef", 1<<20), 0o644),
	}
	p := newest(t)
	tree := filepath.Join(t.TempDir(), "cache")
	got := strings.Split(p.Output(t, append([]string{"add", "--to", tree}, files...)...), "\n")
	p.Output(t, "verify", "--deep", tree)
	for _, nix := range peers.Nixes(t) {
		want := strings.Split(nix.Output(t, "nix-store", append([]string{"--store", peers.StoreRoot(t), "--add"}, files...)...), "\n")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Nix %s: nix-store --add gives other paths (-nix +nixstatic):\n%s", nix.Version, diff)
		}
		root := peers.StoreRoot(t)
		nix.Output(t, "nix", copyArgs(fileURL(tree), root, "", got...)...)
		checkCopy(t, nix, root, slices.Sorted(slices.Values(got)))
		// A tree knows nothing of owners and times, but of who may execute.
		info, err := os.Stat(filepath.Join(root, got[2]))
		if err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("Nix %s: the program has the mode %v, %v", nix.Version, info.Mode(), err)
		}
	}
}

// Each key adds its signature to those that are there, and each Nix counts them.
func TestSign(t *testing.T) {
	p, store := newest(t), peers.Closure(t)
	tree := filepath.Join(t.TempDir(), "cache")
	app := store.Named(t, "libgcc-s1-")
	first, second := p.NewKey(t, "first-1"), p.NewKey(t, "second-1")
	p.Output(t, "export", "--store", store.Root, "--to", tree, "-k", first.File, app)
	before := readRecord(t, tree, app)
	p.Output(t, "sign", tree, "-k", second.File)
	after := readRecord(t, tree, app)
	if diff := cmp.Diff([]string{"first-1", "second-1"}, after.signedBy()); diff != "" {
		t.Errorf("signed by (-want +got):\n%s", diff)
	}
	if !slices.Contains(after["Sig"], before.one(t, "Sig")) {
		t.Error("the first signature is another one now")
	}
	delete(before, "Sig")
	delete(after, "Sig")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("signing changed more than signatures (-before +after):\n%s", diff)
	}
	for _, nix := range peers.Nixes(t) {
		verify := func(keys string) error {
			return nix.Command(t, "nix", "store", "verify", "--all", "--store", fileURL(tree), "--sigs-needed", "2",
				"--option", "trusted-public-keys", keys).Run()
		}
		if err := verify(first.Public + " " + second.Public); err != nil {
			t.Errorf("Nix %s does not count two signatures: %v", nix.Version, err)
		}
		if err := verify(first.Public); err == nil {
			t.Errorf("Nix %s counts two signatures where it trusts one key", nix.Version)
		}
	}
}

//go:build real

package layout_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestContentAddressPaths compares our paths with those that Nix makes.
func TestContentAddressPaths(t *testing.T) {
	nix := peers.Old(t)
	root := peers.StoreRoot(t)
	dir := filepath.Join(t.TempDir(), "a-dir+1.0")
	file := filepath.Join(t.TempDir(), "some_file.txt")
	for name, text := range map[string]string{dir + "/x/y": "hello", dir + "/z": "", file: "content\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, method, algo string, hashed []byte, theirs string, refs ...string) layout.StorePath {
		t.Helper()
		p, err := layout.ParseAbsStorePath(layout.DefaultStoreDir, theirs)
		if err != nil {
			t.Fatal(err)
		}
		var paths []layout.StorePath
		for _, ref := range refs {
			paths = append(paths, layout.StorePath(filepath.Base(ref)))
		}
		ca := layout.ContentAddress{Method: method, Algo: algo, Digest: sums[algo](hashed)}
		ours, err := ca.Path(layout.DefaultStoreDir, p.Name(), paths, false)
		if err != nil || ours != p {
			t.Errorf("%s: our path %s (%v), Nix %s makes %s", what, ours, err, nix.Version, p)
		}
		return ours
	}
	store := func(args ...string) string {
		t.Helper()
		return nix.Output(t, "nix-store", append([]string{"--store", root}, args...)...)
	}
	for _, path := range []string{dir, file} {
		check("add", layout.HashNAR, "sha256", dumpNAR(t, path), store("--add", path))
		for algo := range sums {
			check("add-fixed recursive "+algo, layout.HashNAR, algo, dumpNAR(t, path), store("--add-fixed", "--recursive", algo, path))
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for algo := range sums {
		check("add-fixed "+algo, layout.HashFlat, algo, content, store("--add-fixed", algo, file))
	}

	eval := func(expr string) string {
		t.Helper()
		return nix.Output(t, "nix", "eval", "--impure", "--raw", "--store", root, "--expr", expr)
	}
	plain := eval(`builtins.toFile "plain" "text"`)
	check("toFile", layout.HashText, "sha256", []byte("text"), plain)
	other := eval(`builtins.toFile "other" "text"`)
	two := eval(`builtins.toFile "two" "${builtins.toFile "plain" "text"} ${builtins.toFile "other" "text"}"`)
	check("toFile with references", layout.HashText, "sha256", []byte(plain+" "+other), two, plain, other)
	check("toFile with references, unsorted", layout.HashText, "sha256", []byte(plain+" "+other), two, other, plain)
}

// TestSelfReferences has every Nix make a path content-addressed that refers to
// itself, which those of 2.17 to 2.34 do in a way of their own, and proves it.
func TestSelfReferences(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			// A store of its own that needs no chroot, so that it can be built in.
			root := peers.StoreRoot(t)
			storeDir := root + "/store"
			run := func(name string, args ...string) string {
				t.Helper()
				cmd := nix.Command(t, name, args...)
				cmd.Env = append(cmd.Env, "NIX_STORE_DIR="+storeDir, "NIX_STATE_DIR="+root+"/var", "NIX_LOG_DIR="+root+"/log")
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
				}
				return strings.TrimSpace(string(out))
			}
			expr := filepath.Join(t.TempDir(), "self.nix")
			script := `echo $out twice $out > $out; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do echo \"$(cat $out)\" >> $out; done; echo $out >> $out`
			text := fmt.Sprintf(`derivation { name = "self"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = %q; args = [ "-c" "%s" ]; }`, os.Getenv("PATH"), script)
			if err := os.WriteFile(expr, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			built := run("nix-build", "--no-out-link", "--option", "sandbox", "false", expr)
			var made struct{ Rewrites map[string]string }
			if err := json.Unmarshal([]byte(run("nix", "store", "make-content-addressed", "--json", built)), &made); err != nil {
				t.Fatal(err)
			}
			path := made.Rewrites[built]
			p, err := layout.ParseAbsStorePath(storeDir, path)
			if err != nil {
				t.Fatal(err)
			}
			ca := caOf(t, run("nix", "path-info", "--json", path))
			archive := dumpNAR(t, path)
			claim := layout.PathInfo{Path: p, NarSize: int64(len(archive)), References: []layout.StorePath{p}, CA: ca}

			if got := inspect(t, archive, storeDir, claim); got != layout.Proved {
				t.Errorf("%s of %s is not proved: %v", ca, p, got)
			}
			damaged := slices.Clone(archive)
			damaged[bytes.Index(damaged, []byte("twice"))] = 'T'
			if got := inspect(t, damaged, storeDir, claim); got != layout.Refuted {
				t.Errorf("other content: %v", got)
			}
			for name, refs := range map[string][]layout.StorePath{"no references": nil, "another reference": {zeros + "-a", p}} {
				claim := claim
				claim.References = refs
				if got := inspect(t, archive, storeDir, claim); got != layout.Refuted {
					t.Errorf("%s: %v", name, got)
				}
			}
			claim.Path = layout.StorePath(p.Hash() + "-other")
			if got := inspect(t, archive, storeDir, claim); got != layout.Refuted {
				t.Errorf("another name: %v", got)
			}

			// The writer says the same.
			claim.Path = p
			w := &layout.Writer{StoreDir: storeDir, Pool: newPool(t), Spool: layout.TempSpool(t.TempDir())}
			packed, err := w.Pack(t.Context(), &claim, writing(archive))
			if err != nil {
				t.Fatal(err)
			}
			defer packed.Discard()
			if !packed.Proved {
				t.Error("packed, and not self-evident")
			}
		})
	}
}

// caOf finds the content address in what path-info of any version prints.
func caOf(t *testing.T, text string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, `"ca":"`)
	ca, _, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		t.Fatalf("no content address in %s", text)
	}
	return ca
}

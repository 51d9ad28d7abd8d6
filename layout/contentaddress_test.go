package layout_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestParseContentAddress(t *testing.T) {
	const sha1Hex, sha1Nix32 = "da39a3ee5e6b4b0d3255bfef95601890afd80709", "143xibwh31h9bvxzalr0sjvbbvpa6ffs"
	for text, canonical := range map[string]string{
		"text:sha256:" + emptyNix32:                "text:sha256:" + emptyNix32,
		"fixed:sha256:" + emptyNix32:               "fixed:sha256:" + emptyNix32,
		"fixed:r:sha256:" + emptyNix32:             "fixed:r:sha256:" + emptyNix32,
		"fixed:r:sha256:" + emptyHex:               "fixed:r:sha256:" + emptyNix32,
		"fixed:r:sha256:" + emptyBase64:            "fixed:r:sha256:" + emptyNix32,
		"fixed:sha1:" + sha1Hex:                    "fixed:sha1:" + sha1Nix32,
		"fixed:git:sha1:" + sha1Nix32:              "fixed:git:sha1:" + sha1Nix32,
		"fixed:r:blake3:" + emptyHex:               "fixed:r:blake3:" + emptyNix32,
		"text:blake3:" + emptyNix32:                "",
		"fixed:blake3:" + sha1Nix32:                "",
		"fixed:r:sha3:" + emptyNix32:               "",
		"fixed by hand":                            "",
		"":                                         "",
		"foo:sha256:" + emptyNix32:                 "",
		"text:" + emptyNix32:                       "",
		"text:r:sha256:" + emptyNix32:              "",
		"text:sha1:" + sha1Hex:                     "",
		"fixed:":                                   "",
		"fixed:sha256:":                            "",
		"fixed:sha256:" + sha1Hex:                  "",
		"fixed:crc32:00000000":                     "",
		"fixed:x:sha256:" + emptyNix32:             "",
		"fixed:sha256-" + emptyBase64:              "",
		"fixed:r:r:sha256:" + emptyHex:             "",
		"fixed:sha256:" + strings.Repeat("0", 400): "",
	} {
		ca, err := layout.ParseContentAddress(text)
		if (err == nil) != (canonical != "") {
			t.Errorf("ParseContentAddress(%.60q): %v", text, err)
		}
		if err == nil && ca.String() != canonical {
			t.Errorf("%s: String = %s", text, ca)
		}
	}
}

// sums are the hash functions of content addresses.
var sums = map[string]func([]byte) []byte{
	"md5":    func(b []byte) []byte { s := md5.Sum(b); return s[:] },
	"sha1":   func(b []byte) []byte { s := sha1.Sum(b); return s[:] },
	"sha256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
	"sha512": func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
}

func dumpNAR(t *testing.T, path string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := nar.Dump(t.Context(), &b, path); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

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

// TestUnknownAddresses: what some program may understand is told from what none
// can.
func TestUnknownAddresses(t *testing.T) {
	for text, unknown := range map[string]bool{
		"foo:sha256:" + emptyNix32:                  true,
		"fixed:x:sha256:" + emptyNix32:              true,
		"fixed:r:sha3:" + emptyNix32:                true,
		"text:sha1:" + strings.Repeat("0", 32):      true,
		"fixed:sha256:" + emptyNix32[1:]:            false,
		"fixed:r:blake3:" + strings.Repeat("0", 32): false,
		"fixed:":        false,
		"fixed:sha256:": false,
		"fixed by hand": false,
	} {
		if _, err := layout.ParseContentAddress(text); err == nil || errors.Is(err, layout.ErrUnknownAddress) != unknown {
			t.Errorf("ParseContentAddress(%q): %v, want one of an unknown kind: %t", text, err, unknown)
		}
	}
}

// TestBLAKE3Addresses: the paths that Nix 2.34 made of a file with "hi\n" in it.
func TestBLAKE3Addresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("hi\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	archive := dumpNAR(t, file)
	for text, want := range map[string]layout.StorePath{
		"fixed:r:blake3:1x1y3wjmnnz09ya91vbrk7gy48najpj781clyjpjg55hmisgpbnc": "p8mmgij8lcknrcwhzhmvc9n3zhr3mqik-f",
		"fixed:blake3:0f74msa6lbgvs5ykhnx144j7f75rm00pw6r2mkgwcymdiwj612qb":   "7dmnd8bwb6jwlac7ylvdpqaxzbyz0ag1-f",
	} {
		ca, err := layout.ParseContentAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ca.Path(layout.DefaultStoreDir, "f", nil, false)
		if err != nil || got != want || ca.Provable() {
			t.Errorf("%s leads to %s, provable %t, %v; want %s", text, got, ca.Provable(), err, want)
		}
		claim := layout.PathInfo{Path: want, CA: text, NarSize: 1 << 20}
		if proof := inspect(t, archive, layout.DefaultStoreDir, claim); proof != layout.Unclaimed {
			t.Errorf("%s: proof %v, want none", text, proof)
		}
	}
}

// TestContentAddressRefusals: paths that Nix would not make.
func TestContentAddressRefusals(t *testing.T) {
	refs := []layout.StorePath{zeros + "-a"}
	for _, c := range []struct {
		method, algo string
		refs         []layout.StorePath
		self, ok     bool
	}{
		{layout.HashNAR, "sha256", refs, true, true},
		{layout.HashNAR, "sha256", nil, true, true},
		{layout.HashNAR, "sha1", refs, false, false},
		{layout.HashNAR, "sha1", nil, true, false},
		{layout.HashFlat, "sha256", refs, false, false},
		{layout.HashFlat, "sha256", nil, true, false},
		{layout.HashText, "sha256", refs, false, true},
		{layout.HashText, "sha256", refs, true, false},
		{layout.HashGit, "sha1", refs, false, false},
	} {
		ca := layout.ContentAddress{Method: c.method, Algo: c.algo, Digest: sums[c.algo](nil)}
		if p, err := ca.Path(layout.DefaultStoreDir, "x", c.refs, c.self); (err == nil) != c.ok {
			t.Errorf("%s with %d references, self %t: %s, %v", ca, len(c.refs), c.self, p, err)
		}
		if p, err := ca.Path(layout.DefaultStoreDir, "a/b", nil, false); err == nil {
			t.Errorf("a bad name made %s", p)
		}
	}
}

// inspect puts a claim about an uncompressed NAR to the proof.
func inspect(t *testing.T, archive []byte, storeDir string, claim layout.PathInfo) layout.Proof {
	t.Helper()
	found, err := layout.Inspect(t.Context(), bytes.NewReader(archive), compress.None, storeDir, &claim)
	if err != nil || found.Broken != nil {
		t.Fatal(err, found.Broken)
	}
	defer found.Close()
	return found.Proofs[0]
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
			if !packed.SelfEvident {
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

// TestProofOfText: a text with the references it has, and no others.
func TestProofOfText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	archive := dumpNAR(t, file)
	ca := layout.ContentAddress{Method: layout.HashText, Algo: "sha256", Digest: sums["sha256"]([]byte("text"))}
	ref := layout.StorePath(zeros + "-a")
	p, err := ca.Path(layout.DefaultStoreDir, "text", []layout.StorePath{ref}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	executable := dumpNAR(t, file)
	for name, c := range map[string]struct {
		archive []byte
		refs    []layout.StorePath
		want    layout.Proof
	}{
		"as it is":           {archive, []layout.StorePath{ref}, layout.Proved},
		"executable":         {executable, []layout.StorePath{ref}, layout.Refuted},
		"without references": {archive, nil, layout.Refuted},
		// The path does not depend on it, and Nix makes none such.
		"a reference to itself": {archive, []layout.StorePath{ref, p}, layout.Refuted},
		"a directory":           {dumpNAR(t, filepath.Dir(file)), []layout.StorePath{ref}, layout.Refuted},
	} {
		claim := layout.PathInfo{Path: p, NarSize: int64(len(c.archive)), References: c.refs, CA: ca.String()}
		if got := inspect(t, c.archive, layout.DefaultStoreDir, claim); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzContentAddress(f *testing.F) {
	for _, text := range []string{"text:sha256:" + emptyNix32, "fixed:sha256:" + emptyHex, "fixed:r:sha256:" + emptyBase64,
		"fixed:git:sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "fixed:md5:d41d8cd98f00b204e9800998ecf8427e", "fixed:sha512:", "fixed:sha256-" + emptyBase64} {
		f.Add(text, "name", true)
	}
	f.Fuzz(func(t *testing.T, text, name string, self bool) {
		ca, err := layout.ParseContentAddress(text)
		if err != nil {
			return
		}
		back, err := layout.ParseContentAddress(ca.String())
		if err != nil || back.String() != ca.String() || back.Method != ca.Method || !bytes.Equal(back.Digest, ca.Digest) {
			t.Fatalf("%q reads as %s, which reads as %s, %v", text, ca, back, err)
		}
		if len(ca.Digest) != ca.NewDigest().Size() {
			t.Fatalf("%q: %d bytes of %s", text, len(ca.Digest), ca.Algo)
		}
		p, err := ca.Path(layout.DefaultStoreDir, name, nil, self)
		if err != nil {
			return
		}
		if _, err := layout.ParseStorePath(string(p)); err != nil {
			t.Fatalf("%s leads to %q: %v", ca, p, err)
		}
	})
}

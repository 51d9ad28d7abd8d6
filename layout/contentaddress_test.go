package layout_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
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

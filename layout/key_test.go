package layout_test

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func TestParseKey(t *testing.T) {
	for s, ok := range map[string]bool{
		"nix-cache-info":                         true,
		"nar/" + emptyNix32 + ".nar.xz":          true,
		"log/" + zeros + "-we?ird=x+1.0.drv":     true,
		"realisations/sha256:ab!out.doi":         true,
		"a b":                                    true,
		"é":                                      true,
		"..a/b..":                                true,
		".nixstatic/staging/1":                   true,
		"%2e%2e/x":                               true, // nothing is decoded here
		strings.Repeat("x", 1024):                true,
		strings.Repeat("x", 1025):                false,
		"":                                       false,
		"/":                                      false,
		"/nix-cache-info":                        false,
		"nar/":                                   false,
		"nar//x":                                 false,
		".":                                      false,
		"..":                                     false,
		"../x":                                   false,
		"nar/../x":                               false,
		"nar/./x":                                false,
		"nar/..":                                 false,
		"a\\b":                                   false,
		"a\x00b":                                 false,
		"a\nb":                                   false,
		"a\x7fb":                                 false,
		"a\xffb":                                 false,
		"\xed\xa0\x80":                           false, // a lone surrogate
		strings.Repeat("../", 50) + "etc/passwd": false,
	} {
		if k, err := layout.ParseKey(s); (err == nil) != ok || ok && string(k) != s {
			t.Errorf("ParseKey(%.60q) = %q, %v, want ok %t", s, k, err, ok)
		}
	}
}

// TestKinds pins what is known of every kind of key.
func TestKinds(t *testing.T) {
	hash, id := emptyNix32, "0123456789abcdef0123456789abcdef01234567"
	var b strings.Builder
	for _, k := range []layout.Key{
		"nix-cache-info", "nix-cache-info/x", "Nix-cache-info",
		zeros + ".narinfo", zeros + ".ls", zeros + ".NARINFO", zeros + ".narinfo.gz", zeros + "0.narinfo", layout.Key(zeros[1:] + ".narinfo"),
		"e" + layout.Key(zeros[1:]+".narinfo"), "nar/" + zeros + ".narinfo", zeros + ".narinfo.tmp.12.3",
		layout.Key("nar/" + hash + ".nar"), layout.Key("nar/" + hash + ".nar.xz"), layout.Key("nar/" + hash + ".nar.zst"),
		layout.Key("nar/" + hash + ".nar.bz2"), layout.Key("nar/" + hash + ".nar.br"), layout.Key("nar/" + hash + ".nar.lz4"),
		layout.Key("nar/" + hash + ".nar.lzip"), layout.Key("nar/" + hash + ".nar.gz"),
		layout.Key("nar/" + hash + ".nar.exe"), layout.Key("nar/" + hash + ".nar.xz.tmp.1.2"), layout.Key("nar/" + hash), layout.Key("nar/" + hash[1:] + ".nar"),
		layout.Key("nar/" + emptyHex + ".nar.zst"), layout.Key("nar/" + strings.ToUpper(emptyHex) + ".nar"), layout.Key("nar/" + zeros + "-" + hash + ".nar"),
		layout.Key("nar/" + hash + ".nar?hash=" + zeros), layout.Key("nar/" + zeros + ".nar"), "nar/f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst",
		"nar/x.nar", "nar/.x.nar", "nar/.nar", "nar/x", "nar/x y.nar", "nar/x%20y.nar", "nar/x.nar.part", "nar/x.nar?a b", "nar/.sub/x.nar", "nar/x.nar/x.nar",
		layout.Key("nar/" + strings.Repeat("x", 251) + ".nar"), layout.Key("nar/" + strings.Repeat("x", 252) + ".nar"),
		layout.Key("nar/sub/" + hash + ".nar"), layout.Key(hash + ".nar"), "nar", layout.Key("nar/" + strings.ToUpper(hash) + ".nar"),
		"log/" + zeros + "-x.drv", "log/" + zeros + "-we?ird=x+1.0.drv", "log/" + zeros + "-we", "log/" + zeros, "log/" + zeros + "-", "log/x.drv", "log/" + zeros + "-x y.drv",
		layout.Key("debuginfo/" + id), layout.Key("debuginfo/" + id + ".debug"), layout.Key("debuginfo/" + id[1:]), layout.Key("debuginfo/" + strings.ToUpper(id)), layout.Key("debuginfo/" + id + ".debug.debug"),
		layout.Key("realisations/sha256:" + emptyHex + "!out.doi"), layout.Key("realisations/sha256:" + emptyHex + "!out"), "realisations/a b.doi", "realisations/.doi",
		"build-trace-v2/" + zeros + "-x.drv/out.doi", "build-trace-v2/" + zeros + "-x.drv^out.doi", "build-trace-v2/a/b/c/d/e.doi", "build-trace-v3/x.doi",
		"index.html", "style.css", "favicon.ico", "favicon.svg", "robots.txt", "index.htm", "sub/index.html",
		".nixstatic", ".nixstatic/x", ".nixstatic/staging/12-ab/1", ".nixstaticx", ".htaccess", "README",
	} {
		kind := k.Kind()
		fmt.Fprintf(&b, "%-88s %-14s immutable=%-5t public=%-5t %q %q\n", k, kind, k.Immutable(), kind.Public(), k.ContentType(), k.CacheControl())
	}
	golden(t, "kinds.txt", b.String())
}

// TestOrderOfPublication: what a narinfo leads to is public before it is, and
// the tree is a cache last of all (I2).
func TestOrderOfPublication(t *testing.T) {
	order := []layout.Kind{layout.KindNAR, layout.KindListing, layout.KindNarInfo, layout.KindRealisation, layout.KindCacheInfo}
	if !slices.IsSorted(order) {
		t.Errorf("kinds are not in the order of publication: %v", order)
	}
}

func TestKeyConstructors(t *testing.T) {
	p := layout.StorePath(zeros + "-we?ird.drv")
	sum, err := layout.ParseHash("sha256:" + emptyNix32)
	if err != nil {
		t.Fatal(err)
	}
	got := []layout.Key{layout.NarInfoKey(p), layout.ListingKey(p), layout.LogKey(p), layout.NARKey(sum, ".zst"), layout.NARKey(sum, "")}
	want := []layout.Key{zeros + ".narinfo", zeros + ".ls", "log/" + zeros + "-we?ird.drv", "nar/" + emptyNix32 + ".nar.zst", "nar/" + emptyNix32 + ".nar"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if back, err := got[3].FileHash(); err != nil || back != sum {
		t.Errorf("FileHash = %s, %v", back, err)
	}
	if _, err := got[0].FileHash(); err == nil {
		t.Error("a narinfo's key has a FileHash")
	}
	if got[0].PathHash() != zeros || got[1].PathHash() != zeros || got[3].PathHash() != "" {
		t.Error("PathHash is wrong")
	}
	if diff := cmp.Diff([]layout.Key{"log/" + zeros + "-we?ird.drv", "log/" + zeros + "-we"}, layout.LogKeys(p)); diff != "" {
		t.Errorf("LogKeys (-want +got):\n%s", diff)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"nix-cache-info", zeros + ".narinfo", "nar/" + emptyNix32 + ".nar.xz", "log/" + zeros + "-a?b.drv",
		"debuginfo/0123456789abcdef0123456789abcdef01234567.debug", "realisations/sha256:" + emptyHex + "!out.doi",
		"build-trace-v2/" + zeros + "-x.drv/out.doi", "index.html", ".nixstatic/lock", "../../etc/passwd", "nar/" + strings.Repeat("z", 52) + ".nar"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := layout.ParseKey(s)
		if err != nil {
			return
		}
		if path.Clean(s) != s || path.IsAbs(s) || !filepath.IsLocal(s) || string(k) != s {
			t.Errorf("%q is a key", s)
		}
		kind := k.Kind()
		if kind.String() == "" || kind.CacheControl() == "" || k.ContentType() == "" {
			t.Errorf("%q: kind %d is not in the table", s, kind)
		}
		if sum, err := k.FileHash(); err == nil && !strings.HasPrefix(s, "nar/"+sum.Nix32()+".nar") {
			t.Errorf("%q: FileHash %s", s, sum)
		}
		if h := k.PathHash(); h != "" && kind != layout.KindNarInfo && kind != layout.KindListing {
			t.Errorf("%q: PathHash %s of kind %s", s, h, kind)
		}
	})
}

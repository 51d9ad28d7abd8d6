package layout_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestNameHash: what the names that caches give to NARs promise.
func TestNameHash(t *testing.T) {
	empty := layout.Hash(sha256.Sum256(nil))
	for name, want := range map[string]struct{ promise, ours bool }{
		emptyNix32 + ".nar.xz":                               {true, true},
		emptyNix32 + ".nar":                                  {true, true},
		emptyNix32 + ".nar?hash=" + zeros:                    {true, false}, // harmonia
		zeros + "-" + emptyNix32 + ".nar":                    {true, false}, // nix-serve
		zeros + "_" + emptyNix32 + ".nar":                    {true, false},
		emptyHex + ".nar.zst":                                {true, false},
		strings.ToUpper(emptyHex) + ".nar":                   {false, false},
		zeros + ".nar":                                       {false, false}, // Attic
		"f47ac10b-58cc-4372-a567-0e02b2c3d479.nar.zst":       {false, false}, // Cachix
		"z" + emptyNix32[1:] + ".nar":                        {false, false}, // more than 256 bits
		emptyNix32[1:] + ".nar":                              {false, false},
		emptyNix32 + "0.nar":                                 {false, false},
		"e" + emptyHex[:31] + "-" + emptyNix32 + "0.nar.zst": {false, false},
	} {
		key := layout.Key("nar/" + name)
		if key.Kind() != layout.KindNAR {
			t.Errorf("%s is of kind %s", key, key.Kind())
		}
		h, ok := key.NameHash()
		if ok != want.promise || ok && h != empty || key.Immutable() != ok {
			t.Errorf("%s promises %s, %t; immutable %t", key, h, ok, key.Immutable())
		}
		h, err := key.FileHash()
		if (err == nil) != want.ours || err == nil && h != empty {
			t.Errorf("%s: FileHash = %s, %v", key, h, err)
		}
		if odd := name[0] == 'z'; !want.ours && errors.Is(err, layout.ErrOtherName) == odd {
			t.Errorf("%s: FileHash: %v", key, err)
		}
	}
	for _, key := range []layout.Key{"nar/x", "log/" + zeros + "-x.drv", layout.Key(emptyNix32 + ".nar")} {
		if h, ok := key.NameHash(); ok {
			t.Errorf("%s promises %s", key, h)
		}
	}
}

func TestURLKeys(t *testing.T) {
	const name = "nar/" + emptyNix32 + ".nar"
	for url, want := range map[string][]layout.Key{
		name:                        {name},
		name + "?hash=x":            {name + "?hash=x", name},
		name + "#x":                 {name + "#x", name},
		"nar/a%62.nar":              {"nar/a%62.nar", "nar/ab.nar"},
		"nar/a%62.nar?x=%41":        {"nar/a%62.nar?x=%41", "nar/a%62.nar", "nar/ab.nar"},
		"/" + name:                  {name},
		"//" + name:                 {name},
		"./" + name:                 {name},
		"nar//x.nar":                {"nar/x.nar"},
		"x/../" + name:              {name},
		"x.nar":                     {"x.nar"},
		"../" + name:                nil,
		"%2e%2e/x.nar":              nil,
		"nar/../../etc/passwd":      nil,
		".nixstatic/upstreams":      nil,
		"%2enixstatic/upstreams":    nil,
		"https://example.org/x.nar": nil,
		"file:///x.nar":             nil,
		"nar/a\\b.nar":              nil,
		"nar/x.nar\r":               nil,
		"?x":                        nil,
	} {
		got, err := layout.URLKeys(url)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%s: %v (-want +got):\n%s", url, err, diff)
		}
	}
}

// TestFindNAR: a record leads to a NAR of any name, as long as no hash in it
// belongs to another one.
func TestFindNAR(t *testing.T) {
	file := layout.Hash(sha256.Sum256([]byte("file")))
	other := layout.Hash(sha256.Sum256([]byte("other")))
	nar := layout.Hash(sha256.Sum256([]byte("nar")))
	for _, c := range []struct {
		url, key string
		found    bool
	}{
		{"nar/" + file.Nix32() + ".nar.zst", "nar/" + file.Nix32() + ".nar.zst", true},
		{"nar/" + nar.Nix32() + ".nar.zst", "nar/" + nar.Nix32() + ".nar.zst", true},
		{"nar/" + other.Nix32() + ".nar.zst", "nar/" + other.Nix32() + ".nar.zst", false},
		{"nar/" + hex.EncodeToString(other[:]) + ".nar.zst", "nar/" + hex.EncodeToString(other[:]) + ".nar.zst", true},
		{"nar/" + nar.Nix32() + ".nar?hash=x", "nar/" + nar.Nix32() + ".nar", true},
		{"nar/" + nar.Nix32() + ".nar?hash=x", "nar/" + nar.Nix32() + ".nar?hash=x", true},
		{"nar/x.nar", "nar/x.nar", true},
		{"nar/x.nar", "nar/y.nar", false},
		{"log/" + zeros + "-x.drv", "log/" + zeros + "-x.drv", false},
		{"https://example.org/nar/x.nar", "nar/x.nar", false},
	} {
		tree := treetest.NewMem(nil)
		tree.Damage(layout.Key(c.key), func([]byte) []byte { return []byte("file") })
		n := &layout.NarInfo{URL: c.url, FileHash: file, PathInfo: layout.PathInfo{NarHash: nar}}
		info, err := layout.FindNAR(t.Context(), tree, n)
		if (err == nil) != c.found || err == nil && string(info.Key) != c.key || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, where %s is: %s, %v", c.url, c.key, info.Key, err)
		}
	}
}

// TestHoldsNAR: what a file is compressed by is guessed from its name, or from
// how it begins.
func TestHoldsNAR(t *testing.T) {
	closure := treetest.Populate(t, treetest.NewMem(t))
	archive := closure.Named("lib").NAR
	sum := layout.Hash(sha256.Sum256(archive))
	pool := newPool(t)
	for _, method := range compress.Writable() {
		var file bytes.Buffer
		z, err := pool.NewWriter(t.Context(), &file, method, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(archive); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{method.Extension(), "", ".lzip"} {
			key := layout.Key("nar/" + sum.Nix32() + ".nar" + ext)
			want := ext == method.Extension() || ext == "" && method != compress.Brotli // which begins in no way of its own
			if ext == ".lzip" {
				want = method != compress.Brotli
			}
			ok, err := layout.HoldsNAR(t.Context(), key, bytes.NewReader(file.Bytes()), int64(file.Len()), sum)
			if err != nil || ok != want {
				t.Errorf("%s at %s: %t, %v; want %t", method, key, ok, err, want)
			}
		}
		key := layout.NARKey(sum, method.Extension())
		if ok, err := layout.HoldsNAR(t.Context(), key, bytes.NewReader(file.Bytes()[:file.Len()-1]), 1, sum); ok || err != nil {
			t.Errorf("%s, cut off: %t, %v", method, ok, err)
		}
		if ok, err := layout.HoldsNAR(t.Context(), key, bytes.NewReader(file.Bytes()), 1, layout.Hash{}); ok || err != nil {
			t.Errorf("%s, another NAR: %t, %v", method, ok, err)
		}
	}
}

// FuzzURLKeys checks that no narinfo leads out of a tree.
func FuzzURLKeys(f *testing.F) {
	for _, ref := range []string{"nar/x.nar.xz?hash=a", "nar/a%2e%2e/b", "../x", "/etc/passwd", "https://h/x", ".nixstatic/x", "%2enixstatic/x", "nar/%2E%2E/x"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		keys, err := layout.URLKeys(ref)
		if err != nil {
			return
		}
		for _, key := range keys {
			if again, err := layout.ParseKey(string(key)); err != nil || again != key || key.Kind() == layout.KindPrivate {
				t.Fatalf("%q leads to %q", ref, key)
			}
		}
	})
}

package layout_test

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
)

// TestPublicPatterns checks that a store which is told the patterns serves what
// is public, and nothing else of ours.
func TestPublicPatterns(t *testing.T) {
	hash, file := strings.Repeat("0", 32), strings.Repeat("0", 52)
	keys := []layout.Key{layout.CacheInfoKey, layout.NarInfoKeyOf(hash), layout.ListingKeyOf(hash), "index.html", "style.css",
		"favicon.ico", "favicon.svg", "robots.txt", layout.Key("log/" + hash + "-x.drv"), "debuginfo/" + layout.Key(strings.Repeat("0", 40)),
		layout.Key("realisations/sha256:" + hash + "!out.doi"), layout.Key("build-trace-v2/" + hash + "-x.drv/out.doi")}
	for _, suffix := range layout.NARSuffixes {
		keys = append(keys, layout.Key("nar/"+file+suffix))
	}
	for _, key := range keys {
		if !key.Kind().Public() {
			t.Fatalf("%s is not public", key)
		}
		if !matches(key) {
			t.Errorf("no pattern for %s", key)
		}
	}
	for _, key := range []layout.Key{layout.UpstreamsKey, layout.PrivatePrefix + "held/" + layout.NarInfoKeyOf(hash),
		layout.PrivatePrefix + "staging/1/x.ls", "README", ".git/x.narinfo"} {
		if matches(key) {
			t.Errorf("a pattern for %s", key)
		}
	}
}

func matches(key layout.Key) bool {
	for _, pattern := range layout.PublicPatterns() {
		first, last, star := strings.Cut(pattern, "*")
		rest, ok := strings.CutPrefix(string(key), first)
		if ok && (star && strings.HasSuffix(rest, last) || !star && rest == "") {
			return true
		}
	}
	return false
}

// TestNARSuffixes checks that a NAR of every compression has a key.
func TestNARSuffixes(t *testing.T) {
	for _, method := range compress.Writable() {
		if key := layout.NARKey(layout.Hash{}, method.Extension()); key.Kind() != layout.KindNAR {
			t.Errorf("%s is not the key of a NAR", key)
		}
	}
}

package refgraph

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// TestIDs: ids lead back to their keys, and have their order.
func TestIDs(t *testing.T) {
	var keys []layout.Key
	for i := range 500 {
		sum := layout.Hash(sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		keys = append(keys, layout.NARKey(sum, ".zst"))
	}
	for _, suffix := range layout.NARSuffixes {
		key := layout.Key("nar/" + strings.Repeat("0", narChars) + suffix)
		if key.Kind() != layout.KindNAR {
			t.Errorf("%s is no NAR", key)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var ids []NARID
	for _, key := range keys {
		id, ok := PackNAR(key)
		if !ok || id.Key() != key {
			t.Fatalf("%s comes back as %s", key, id.Key())
		}
		ids = append(ids, id)
	}
	if !slices.IsSortedFunc(ids, func(a, b NARID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Error("NARs are not in the order of their keys")
	}
	// The first of 52 characters holds one bit.
	if id, ok := PackNAR(layout.Key("nar/" + strings.Repeat("z", narChars) + ".nar")); ok {
		t.Errorf("a key that is no hash: %s", id.Key())
	}
	for _, name := range []string{"", "x", strings.Repeat("0", narChars), strings.Repeat("0", narChars-1) + "e.nar", strings.Repeat("0", narChars) + ".nar?a", strings.Repeat("0", narChars) + ".tar"} {
		for _, folder := range []string{"nar/", "log/", ""} {
			if id, ok := PackNAR(layout.Key(folder + name)); ok {
				t.Errorf("%s%s counts as %s", folder, name, id.Key())
			}
		}
	}
	var hashes []string
	for range 500 {
		hash := make([]byte, pathChars)
		for i := range hash {
			hash[i] = layout.Nix32Digits[rand.N(32)]
		}
		hashes = append(hashes, string(hash))
	}
	slices.Sort(hashes)
	var paths []PathID
	for _, hash := range hashes {
		id := PackPath(hash)
		if id.Hash() != hash || id.NarInfoKey() != layout.Key(hash+".narinfo") || id.ListingKey() != layout.Key(hash+".ls") {
			t.Fatalf("%s comes back as %s", hash, id.Hash())
		}
		paths = append(paths, id)
	}
	if !slices.IsSortedFunc(paths, func(a, b PathID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Error("paths are not in the order of their keys")
	}
}

package inbox

import (
	"errors"
	"slices"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
)

// TestDecide: what becomes of a record, for every combination of facts that
// decides.
func TestDecide(t *testing.T) {
	const path, ref = layout.StorePath("00000000000000000000000000000000-app"), layout.StorePath("11111111111111111111111111111111-lib")
	file, archive := layout.Hash{1}, layout.Hash{2}
	nar := layout.NARKey(file, ".zst")
	n := &layout.NarInfo{PathInfo: layout.PathInfo{Path: path, NarHash: archive, NarSize: 100, References: []layout.StorePath{ref}},
		URL: string(nar), Compression: compress.Zstd}
	r := &record{NarInfo: n, key: layout.NarInfoKey(path), nar: nar}
	trusted := *r
	trusted.trusted = true
	there := func(edit ...func(*receipt)) *receipt {
		known := &receipt{object: layout.Info{Key: nar, Size: 50}, method: compress.Zstd, narHash: archive, narSize: 100}
		for _, e := range edit {
			e(known)
		}
		return known
	}
	other := *n
	other.NarHash = layout.Hash{9}
	lib := need{key: layout.NarInfoKey(ref), path: ref}
	ahead := func(wrong error) map[layout.Key]ahead { return map[layout.Key]ahead{"a": {}, "b": {wrong: wrong}} }
	says := func(edit func(*layout.NarInfo)) *record {
		r, n := *r, *n
		edit(&n)
		r.NarInfo = &n
		return &r
	}

	type result struct {
		reason       Reason
		needs        []need
		merge, vouch bool
		fileSize     int64
	}
	publish := result{vouch: true, fileSize: 50}
	for _, test := range []struct {
		name    string
		record  *record
		facts   facts
		require bool
		want    result
	}{
		{"all is there", r, facts{nar: narSound, known: there()}, false, publish},
		{"a broken narinfo is there", r, facts{have: &other, nar: narSound, known: there()}, false, publish},
		{"the NAR is absent", r, facts{nar: narAbsent}, false, result{needs: []need{{key: nar}}}},
		{"the NAR is damaged", r, facts{nar: narDamaged}, false, result{needs: []need{{key: nar, damaged: true}}}},
		{"the NAR and a reference are absent", r, facts{nar: narAbsent, missing: []need{lib}}, false, result{needs: []need{{key: nar}, lib}}},
		{"a reference is absent", r, facts{nar: narSound, known: there(), missing: []need{lib}}, false, result{needs: []need{lib}}},
		{"the NAR was not looked at", r, facts{missing: []need{lib}}, false, result{needs: []need{lib}}},

		{"NarHash", r, facts{nar: narSound, known: there(func(k *receipt) { k.narHash = file })}, false, result{reason: NARDiffers}},
		{"NarSize", r, facts{nar: narSound, known: there(func(k *receipt) { k.narSize++ })}, false, result{reason: NARDiffers}},
		{"Compression", r, facts{nar: narSound, known: there(func(k *receipt) { k.method = compress.Xz })}, false, result{reason: NARDiffers}},
		{"FileSize", says(func(n *layout.NarInfo) { n.FileSize = 51 }), facts{nar: narSound, known: there()}, false, result{reason: NARDiffers}},
		{"FileSize as it is", says(func(n *layout.NarInfo) { n.FileSize = 50 }), facts{nar: narSound, known: there()}, false, publish},
		{"wrong, and a reference is absent", r, facts{nar: narSound, known: there(func(k *receipt) { k.narSize++ }), missing: []need{lib}}, false, result{reason: NARDiffers}},

		{"the address is refuted", r, facts{nar: narSound, known: there(), proof: layout.Refuted}, false, result{reason: WrongCA}},
		{"and signed", &trusted, facts{nar: narSound, known: there(), proof: layout.Refuted}, true, result{reason: WrongCA}},
		{"unsigned", r, facts{nar: narSound, known: there()}, true, result{reason: Untrusted}},
		{"unsigned, and a reference is absent", r, facts{nar: narSound, known: there(), missing: []need{lib}}, true, result{reason: Untrusted}},
		{"signed", &trusted, facts{nar: narSound, known: there()}, true, publish},
		{"proved", r, facts{nar: narSound, known: there(), proof: layout.Proved}, true, publish},

		{"what came ahead is right", r, facts{nar: narSound, known: there(), sent: ahead(nil)}, false, publish},
		{"what came ahead is wrong", r, facts{nar: narSound, known: there(), sent: ahead(refuse(ListingDiffers, "x"))}, false, result{reason: ListingDiffers}},

		{"the path is there", r, facts{have: n, leads: true}, false, result{merge: true}},
		{"the path is there, and its bytes came by", r, facts{have: n, leads: true, known: there()}, false, result{merge: true, vouch: true}},
		{"other bytes came by", r, facts{have: n, leads: true, known: there(func(k *receipt) { k.narHash = file })}, false, result{merge: true}},
		{"the path is there, and what came ahead is wrong", r, facts{have: n, leads: true, known: there(), sent: ahead(refuse(BadDebugInfo, "x"))}, false, result{reason: BadDebugInfo}},
		{"the path is there with other content", r, facts{have: &other, leads: true}, false, result{reason: Conflict}},
		{"and that is signed", &trusted, facts{have: &other, leads: true, known: there()}, true, result{reason: Conflict}},
	} {
		before := *test.record.NarInfo
		d := decide(test.record, &test.facts, test.require)
		if reasonOf(d.refusal) != test.want.reason || (d.refusal == nil) != (test.want.reason == "") {
			t.Errorf("%s: refused: %v, want %q", test.name, d.refusal, test.want.reason)
		}
		if d.refusal != nil {
			continue
		}
		if !slices.Equal(d.needs, test.want.needs) || d.merge != test.want.merge || d.vouch != test.want.vouch {
			t.Errorf("%s: it needs %v, merge %v, vouch %v; want %+v", test.name, d.needs, d.merge, d.vouch, test.want)
		}
		if test.want.fileSize != 0 && (d.narInfo.FileSize != test.want.fileSize || d.narInfo.FileHash != file) {
			t.Errorf("%s: the file has %d bytes and the hash %s", test.name, d.narInfo.FileSize, d.narInfo.FileHash)
		}
		if !slices.Equal(before.References, test.record.References) || before.FileSize != test.record.FileSize {
			t.Errorf("%s: the record was changed", test.name)
		}
	}
	for n, want := range map[need]Reason{{key: nar}: MissingNAR, {key: nar, damaged: true}: MissingNAR, lib: MissingReference} {
		if err := n.refusal(r); reasonOf(err) != want {
			t.Errorf("%v is refused with %v, want %s", n, err, want)
		}
	}
	if !errors.Is(errDamaged, errNoNAR) {
		t.Error("a damaged NAR does not count as absent")
	}
}

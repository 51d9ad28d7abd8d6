package layout

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/signer"
)

const (
	realisedBase = "p3iq1jbi9kkmffxwj7s0hjz9v12qvxpc-base"
	realisedMid  = "q4ziqw1wprlqr217m9cg48icy0zv8w3w-mid"
	realisedTop  = "f7sx4l59vkdwkgysp8znw3r7j965zj37-top"
	baseID       = "sha256:d49dddeaeaca070f24064498f92144430ec95d6372614b7060103fe017a9bd93!out"
	midID        = "sha256:47e911b95b4a2cd0035a9fbe6db40fc9484c0bea9a09425bdabe2f1022ae7f22!out"
	topID        = "sha256:48cfceec4ade3f0733f4f874271c772e7bcb52cf8ac287ae6dcc385b62c20afc!out"
)

// Objects as Nix 2.8 wrote them into a binary cache, byte for byte.
var realisedByNix = map[string]string{
	baseID: `{"dependentRealisations":{},"id":"` + baseID + `","outPath":"` + realisedBase + `","signatures":[]}`,
	topID:  `{"dependentRealisations":{"` + midID + `":"` + realisedMid + `"},"id":"` + topID + `","outPath":"` + realisedTop + `","signatures":[]}`,
}

func mustDrvOutput(t testing.TB, text string) DrvOutput {
	t.Helper()
	o, err := parseDrvOutput(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func objectTexts(t testing.TB, r Realisation) map[Key]string {
	t.Helper()
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[Key]string{}
	for _, o := range objects {
		text, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Body.Size()))
		if err != nil {
			t.Fatal(err)
		}
		texts[o.Key] = string(text)
	}
	return texts
}

func TestRealisationIsNixs(t *testing.T) {
	for id, want := range realisedByNix {
		key := Key("realisations/" + id + ".doi")
		r, err := ParseRealisation(key, []byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[Key]string{key: want}, objectTexts(t, r)); diff != "" {
			t.Errorf("read and written again (-Nix +ours):\n%s", diff)
		}
	}
}

func TestRealisationObjects(t *testing.T) {
	base := mustDrvOutput(t, baseID)
	const drv = "07xfnvh9ffbbsqqvgamn1s4c3g9j78fm-base.drv"
	sig := "k-1:" + strings.Repeat("A", 86) + "=="
	r := Realisation{
		OutPath: realisedBase, Output: "out", DrvHash: base.DrvHash, Sigs: []string{sig, sig},
		DrvPath: drv, TraceSigs: []string{sig},
	}
	old := Key("realisations/" + baseID + ".doi")
	trace := Key("build-trace-v2/" + drv + "/out.doi")
	want := map[Key]string{
		old:   `{"dependentRealisations":{},"id":"` + baseID + `","outPath":"` + realisedBase + `","signatures":["` + sig + `"]}`,
		trace: `{"outPath":"` + realisedBase + `","signatures":[{"keyName":"k-1","sig":"` + strings.Repeat("A", 86) + `=="}]}`,
	}
	if diff := cmp.Diff(want, objectTexts(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key := range want {
		if key.Kind() != KindRealisation {
			t.Errorf("%s is of kind %s", key, key.Kind())
		}
		if _, err := ParseKey(string(key)); err != nil {
			t.Error(err)
		}
	}
	got, err := ParseRealisation(trace, []byte(want[trace]))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Realisation{OutPath: realisedBase, Output: "out", DrvPath: drv, TraceSigs: []string{sig}}, got); diff != "" {
		t.Errorf("build trace read again (-want +got):\n%s", diff)
	}
	// Nix from 2.35 reads signatures of the older form too.
	got, err = ParseRealisation(trace, fmt.Appendf(nil, `{"outPath":%q,"signatures":[%q],"x":{}}`, realisedBase, sig))
	if err != nil || !cmp.Equal(got.TraceSigs, []string{sig}) {
		t.Errorf("signatures as strings: %v, %v", got.TraceSigs, err)
	}
	if _, err := (&Realisation{OutPath: realisedBase, Output: "out"}).Objects(); err == nil {
		t.Error("a realisation of no derivation has objects")
	}
}

func TestRealisationSign(t *testing.T) {
	key, err := signer.Generate("k-1")
	if err != nil {
		t.Fatal(err)
	}
	top, err := ParseRealisation(Key("realisations/"+topID+".doi"), []byte(realisedByNix[topID]))
	if err != nil {
		t.Fatal(err)
	}
	top.DrvPath = "46f0a5jjk2l7jqc9xzlbzas9dpynyzag-top.drv"
	for range 2 { // signing again changes nothing
		if err := top.Sign(key); err != nil {
			t.Fatal(err)
		}
	}
	bare := `{"dependentRealisations":{},"id":"` + topID + `","outPath":"` + realisedTop + `"}`
	full := `{"dependentRealisations":{"` + midID + `":"` + realisedMid + `"},"id":"` + topID + `","outPath":"` + realisedTop + `"}`
	trace := `{"key":{"drvPath":"46f0a5jjk2l7jqc9xzlbzas9dpynyzag-top.drv","outputName":"out"},"value":{"outPath":"` + realisedTop + `"}}`
	if len(top.Sigs) != 2 || len(top.TraceSigs) != 1 {
		t.Fatalf("%d and %d signatures, want 2 and 1", len(top.Sigs), len(top.TraceSigs))
	}
	trusted := signer.Trusted{key.Public()}
	for _, fingerprint := range []string{bare, full} {
		if _, ok := trusted.Verify(fingerprint, top.Sigs); !ok {
			t.Errorf("no signature of %s", fingerprint)
		}
	}
	if _, ok := trusted.Verify(trace, top.TraceSigs); !ok {
		t.Errorf("no signature of %s", trace)
	}
}

func TestRealisationRefusals(t *testing.T) {
	good := realisedByNix[topID]
	change := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	key := "realisations/" + topID + ".doi"
	tests := []struct{ name, key, text string }{
		{"empty", key, ""},
		{"web page", key, "<html>"},
		{"null", key, "null"},
		{"list", key, "[]"},
		{"cut off", key, good[:len(good)-1]},
		{"two objects", key, good + good},
		{"another's", "realisations/" + baseID + ".doi", good},
		{"foreign key", "nar/" + topID + ".doi", good},
		{"no id", key, change(`"id"`, `"ID"`)},
		{"no outPath", key, change(`"outPath"`, `"outpath"`)},
		{"absolute outPath", key, change(realisedTop, "/nix/store/"+realisedTop)},
		{"dependent of no hash", key, change(midID, "mid!out")},
		{"dependent outside", key, change(realisedMid, "../../mid")},
		{"dependents in a list", key, change(`{"`+midID+`":"`+realisedMid+`"}`, `["x"]`)},
		{"signature of a number", key, change(`[]`, `[1]`)},
		{"too long", key, good + strings.Repeat(" ", MaxRealisation)},
		{"trace of no derivation", "build-trace-v2/" + realisedTop + "/out.doi", good},
		{"trace without output", "build-trace-v2/" + realisedTop + ".drv.doi", good},
		{"trace too deep", "build-trace-v2/" + realisedTop + ".drv/a/b.doi", good},
	}
	for _, test := range tests {
		if r, err := ParseRealisation(Key(test.key), []byte(test.text)); err == nil {
			t.Errorf("%s: accepted as %+v", test.name, r)
		}
	}
	for _, id := range []string{
		"", "!", "sha256:!out", topID[:len(topID)-3], strings.ToUpper(topID), "md5" + topID[6:], topID + "!x", topID + "/x",
		"sha256:" + strings.Repeat("0", 63) + "!out", topID[:len(topID)-3] + "..",
	} {
		if o, err := parseDrvOutput(id); err == nil {
			t.Errorf("derivation output %q: accepted as %v", id, o)
		}
	}
}

// TestRealisationUnknowns: what may be ignored loses no realisation.
func TestRealisationUnknowns(t *testing.T) {
	sig := "k-1:" + strings.Repeat("A", 86) + "=="
	old, trace := Key("realisations/"+topID+".doi"), Key("build-trace-v2/"+realisedTop+".drv/out.doi")
	for _, c := range []struct {
		name string
		key  Key
		sigs string
	}{
		{"a signature without a colon", old, `["x",` + strconv.Quote(sig) + `]`},
		{"a longer signature", old, `[` + strconv.Quote(sig) + `,"k-1:` + strings.Repeat("A", 3000) + `"]`},
		{"a signature without padding", old, `[` + strconv.Quote(strings.TrimSuffix(sig, "==")) + `]`},
		{"an object with more members", trace, `[{"keyName":"k-1","sig":"` + sig[4:] + `","algo":7}]`},
		{"an object with other members", trace, `[{"keyName":"k-1","mldsa":"x"},` + strconv.Quote(sig) + `]`},
		{"an object with members of other types", trace, `[{"keyName":7,"sig":[]},` + strconv.Quote(sig) + `]`},
	} {
		text := strings.Replace(realisedByNix[topID], `"signatures":[]`, `"future":{"a":[1]},"signatures":`+c.sigs, 1)
		r, err := ParseRealisation(c.key, []byte(text))
		if got := append(r.Sigs, r.TraceSigs...); err != nil || !cmp.Equal(got, []string{sig}) {
			t.Errorf("%s: signatures %q, %v", c.name, got, err)
		}
	}
}

func FuzzRealisation(f *testing.F) {
	for id, text := range realisedByNix {
		f.Add("realisations/"+id+".doi", []byte(text))
	}
	f.Add("build-trace-v2/07xfnvh9ffbbsqqvgamn1s4c3g9j78fm-base.drv/out.doi",
		[]byte(`{"outPath":"`+realisedBase+`","signatures":[{"keyName":"k-1","sig":"`+strings.Repeat("A", 86)+`=="}]}`))
	f.Fuzz(func(t *testing.T, key string, text []byte) {
		r, err := ParseRealisation(Key(key), text)
		if err != nil {
			return
		}
		texts := objectTexts(t, r)
		if len(texts) != 1 || !json.Valid([]byte(texts[Key(key)])) {
			t.Fatalf("%s reads as %+v, which is written as %v", key, r, texts)
		}
		again, err := ParseRealisation(Key(key), []byte(texts[Key(key)]))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("written and read again (-want +got):\n%s", diff)
		}
	})
}

package inbox

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
)

// edits are what a disk may make of a record that can still be read.
var edits = map[string]func(string) string{
	"hash of the NAR": func(s string) string {
		return regexp.MustCompile(`NarHash: sha256:.....`).ReplaceAllString(s, "NarHash: sha256:00000")
	},
	"size of the NAR": func(s string) string { return strings.Replace(s, "NarSize: ", "NarSize: 9", 1) },
	"references": func(s string) string {
		return strings.Replace(s, "References: ", "References: "+strings.Repeat("0", 32)+"-x ", 1)
	},
	"name of the path":    func(s string) string { return strings.Replace(s, "-flat\n", "-flaw\n", 1) },
	"compression":         func(s string) string { return strings.Replace(s, "Compression: zstd", "Compression: xz", 1) },
	"size of the file":    func(s string) string { return strings.Replace(s, "FileSize: ", "FileSize: 9", 1) },
	"signature":           func(s string) string { return regexp.MustCompile(`(Sig: test-1:)....`).ReplaceAllString(s, "${1}AAAA") },
	"hash, and no record": func(s string) string { return strings.Replace(s, "NarHash: sha256:", "NarHash: sha257:", 1) },
}

// A record that can be read and says what no key signed is as good as absent: a Nix is not
// told of it, and what the client then sends takes its place. So does what a client sends
// that asks for nothing before.
func TestSpoiledRecordIsMended(t *testing.T) {
	s := newSample(t)
	key, nar := layout.NarInfoKey(s.path("flat")), s.nar(t, "flat")
	for name, edit := range edits {
		for _, asks := range []bool{true, false} {
			tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{s.key} })
			tr.must(nar, s.objects[nar], true, Created)
			tr.must(key, s.objects[key], true, Created)
			whole := contents(t, tr.tree)
			tr.restart()
			spoiled := edit(whole[key])
			if spoiled == whole[key] {
				t.Fatalf("%s: nothing is changed", name)
			}
			tr.mem.Damage(key, func([]byte) []byte { return []byte(spoiled) })
			if asks {
				if _, err := tr.ForNix().Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: a Nix is told of it: %v", name, err)
				}
				if _, err := tr.ForNix().Stat(t.Context(), nar); err != nil {
					tr.send(nar, s.objects[nar], true)
				}
			}
			if _, err := tr.send(key, s.objects[key], true); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := contents(t, tr.tree)[key]; got != whole[key] {
				t.Errorf("%s, asks %v: the record is\n%s\nand was\n%s", name, asks, got, whole[key])
			}
		}
	}
}

// A signature that a client added under the name of a key which the operator trusts later
// spoils nothing that another known key did sign.
func TestPlantedSignatureSpoilsNothing(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{s.key} })
	key, nar := layout.NarInfoKey(s.path("flat")), s.nar(t, "flat")
	tr.must(nar, s.objects[nar], true, Created)
	tr.must(key, s.objects[key], true, Created)
	later, err := signer.Generate("later-1")
	if err != nil {
		t.Fatal(err)
	}
	planted, err := later.Sign("something else")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.sendAs("mallory", key, s.objects[key]+"Sig: "+planted+"\n", true); err != nil {
		t.Fatal(err)
	}
	tr.cfg.Trusted = signer.Trusted{later.Public()}
	tr.restart()
	if _, err := tr.ForNix().Stat(t.Context(), key); err != nil {
		t.Errorf("a Nix is not told of the path: %v", err)
	}
	other := s.narInfo(t, "flat")
	of, err := layout.ParseNarInfo([]byte(s.objects[layout.NarInfoKey(s.path("source"))]), "")
	if err != nil {
		t.Fatal(err)
	}
	other.URL, other.FileHash, other.FileSize, other.NarHash, other.NarSize, other.Compression, other.Sigs = of.URL, of.FileHash, of.FileSize, of.NarHash, of.NarSize, of.Compression, nil
	tr.send(s.nar(t, "source"), s.objects[s.nar(t, "source")], true)
	tr.refused(key, string(other.Marshal(layout.DefaultStoreDir)), true, Conflict)
}

// A realisation whose path is not the one that was signed is replaced, and so is a debug
// link to what no NAR has at that place.
func TestSpoiledLeadsAreMended(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{s.key} })
	want := map[layout.Key]string{}
	for _, folder := range []string{"nar/", ""} {
		for _, key := range s.keys() {
			kind := key.Kind()
			if nar := kind == layout.KindNAR; nar == (folder == "nar/") && (nar || kind == layout.KindNarInfo || kind == layout.KindRealisation || kind == layout.KindDebugInfo) {
				if _, err := tr.sendAs(share.Client("alice"), key, s.objects[key], false); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	damaged := 0
	for key, text := range contents(t, tr.tree) {
		spoiled := text
		switch key.Kind() {
		case layout.KindRealisation:
			spoiled = strings.Replace(text, "-app\"", "-apq\"", 1)
		case layout.KindDebugInfo:
			spoiled = strings.Replace(text, "lib/debug", "lib/debuh", 1)
		}
		if want[key] = text; spoiled != text {
			damaged++
			tr.mem.Damage(key, func([]byte) []byte { return []byte(spoiled) })
			if _, err := tr.ForNix().Stat(t.Context(), key); key.Kind() == layout.KindDebugInfo && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a Nix is told of %s: %v", key, err)
			}
			if _, err := tr.send(key, s.objects[key], true); err != nil {
				t.Errorf("put %s: %v", key, err)
			}
		}
	}
	if damaged < 4 {
		t.Fatalf("%d objects were damaged", damaged)
	}
	for key, text := range contents(t, tr.tree) {
		if want[key] != text {
			t.Errorf("%s is %s and was %s", key, text, want[key])
		}
	}
}

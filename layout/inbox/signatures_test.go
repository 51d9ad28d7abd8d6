package inbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// Signatures by keys that the server does not know are few and small, however
// many come, at once or one after the other; those by known keys always have
// room.
func TestStrangeSignatures(t *testing.T) {
	s := newSample(t)
	for _, held := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
		before := len(s.objects[key])
		if !held {
			tr.must(nar, s.objects[nar], true, Created)
		}
		send := func(n *layout.NarInfo) {
			t.Helper()
			slices.Sort(n.Sigs)
			if _, err := tr.send(key, string(n.Marshal(layout.DefaultStoreDir)), false); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			n := s.narInfo(t, "flat")
			n.Sigs = nil
			for j := range 1000 {
				n.Sigs = append(n.Sigs, fmt.Sprintf("junk-%d-%d:%s", i, j, strings.Repeat("A", 86)+"=="))
			}
			n.Sigs = append(n.Sigs, strings.Repeat("long", 50)+":"+strings.Repeat("A", 86)+"==")
			send(n)
		}
		if held {
			tr.must(nar, s.objects[nar], true, Created)
		}
		send(s.narInfo(t, "flat"))
		text := contents(t, tr.tree)[key]
		if strange := strings.Count(text, "Sig: ") - strings.Count(text, "Sig: "+s.key.Name()+":"); strange != maxStrange {
			t.Errorf("held %v: %d signatures by strangers", held, strange)
		}
		if !strings.Contains(text, "Sig: "+s.key.Name()+":") || len(text) > before+maxStrange*(maxStrangeSize+10) {
			t.Errorf("held %v: the record has %d bytes\n%.1000s", held, len(text), text)
		}
	}
}

// The same of realisations.
func TestStrangeSignaturesOfRealisations(t *testing.T) {
	s := newSample(t)
	for key, text := range s.objects {
		if key.Kind() != layout.KindRealisation {
			continue
		}
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		for i := range 20 {
			r, err := layout.ParseRealisation(key, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Sigs, r.TraceSigs = nil, nil
			for j := range 100 {
				sig := fmt.Sprintf("junk-%d-%d:%s", i, j, strings.Repeat("A", 86)+"==")
				r.Sigs, r.TraceSigs = append(r.Sigs, sig), append(r.TraceSigs, sig)
			}
			blown, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.send(key, string(blown), true); err != nil {
				t.Fatal(err)
			}
		}
		tr.must(key, text, true, Merged)
		r, err := layout.ParseRealisation(key, []byte(contents(t, tr.tree)[key]))
		if err != nil || len(r.Sigs)+len(r.TraceSigs) != maxStrange+1 {
			t.Errorf("%s has %d and %d signatures, %v", key, len(r.Sigs), len(r.TraceSigs), err)
		}
	}
}

// A record that grew before there was a bound is not made unreadable.
func TestFullRecordStays(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	key := layout.NarInfoKey(s.path("flat"))
	tr.sendNARs(s)
	full := treetest.Bloat([]byte(s.objects[key]), layout.MaxNarInfo-50)
	tr.mem.Damage(key, func([]byte) []byte { return full })
	_, err = tr.send(key, s.objects[key], true) // which would gain our signature
	if reasonOf(err) != TooLarge {
		t.Errorf("got %v", err)
	}
	if got := contents(t, tr.tree)[key]; got != string(full) {
		t.Errorf("the record has %d bytes now", len(got))
	}
}

// A record that is wrong in the tree gains no signature of ours from a second one
// that is as wrong, though the NAR came by.
func TestMergeVouchesForNothingWrong(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	tr.sendNARs(s)
	n := s.narInfo(t, "twin")
	n.NarHash, n.Sigs = layout.Hash{1}, nil
	key, text := layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir))
	tr.mem.Damage(key, func([]byte) []byte { return []byte(text) })
	tr.refused(key, text, true, NARDiffers)
	tr.restart() // and nothing is known of the NAR
	tr.must(key, text, true, Unchanged)
	if got := contents(t, tr.tree)[key]; got != text {
		t.Errorf("the record says %s", got)
	}
}

package inbox

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

func TestRealisations(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) {
		c.Trusted = signer.Trusted{s.key.Public()}
		c.Writer.Keys = []signer.SecretKey{ours}
	})
	for key, text := range s.objects {
		if key.Kind() != layout.KindRealisation {
			continue
		}
		tr.refused(key, text[:len(text)-1], true, BadRealisation)
		tr.refused(key, "", true, Empty)
		r, err := layout.ParseRealisation(key, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		render := func(edit func(*layout.Realisation)) string {
			r := r
			edit(&r)
			text, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		tr.refused(key, render(func(r *layout.Realisation) { r.OutPath = s.path("lib") }), true, BadSignature)
		unsigned := render(func(r *layout.Realisation) { r.Sigs, r.TraceSigs = nil, nil })
		tr.must(key, unsigned, true, Created)
		tr.must(key, text, true, Merged)
		tr.must(key, text, true, Unchanged)
		tr.must(key, unsigned, true, Unchanged)
		tr.refused(key, render(func(r *layout.Realisation) { r.OutPath, r.Sigs, r.TraceSigs = s.path("lib"), nil, nil }), true, Conflict)
		got, err := layout.ParseRealisation(key, []byte(contents(t, tr.tree)[key]))
		if err != nil || len(got.Sigs)+len(got.TraceSigs) != 2 {
			t.Errorf("%s has the signatures %q and %q, %v", key, got.Sigs, got.TraceSigs, err)
		}
		tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
		tr.must(key, text, true, Replaced)
	}
	// If one has dependents and the other none, as Nix 2.34 writes it, the former
	// stays with the signatures of both.
	r := layout.Realisation{OutPath: s.path("app"), Output: "out", DrvHash: layout.Hash{7}}
	key := layout.RealisationKey(r.ID())
	full := r
	full.Dependents = map[layout.DrvOutput]layout.StorePath{{DrvHash: layout.Hash{8}, Output: "out"}: s.path("lib")}
	for _, r := range []*layout.Realisation{&r, &full} {
		if err := r.Sign(s.key); err != nil {
			t.Fatal(err)
		}
	}
	for _, order := range [][]layout.Realisation{{r, full}, {full, r}} {
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		for _, r := range order {
			text, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.send(key, string(text), true); err != nil {
				t.Fatal(err)
			}
		}
		want, err := realisationText(key, full)
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, tr.tree)[key]; got != string(want) {
			t.Errorf("the realisation is\n%s, want\n%s", got, want)
		}
	}
}

// A stranger cannot change from what a realisation was made.
func TestRealisationGainsNoDependents(t *testing.T) {
	s := newSample(t)
	stranger, err := signer.Generate("stranger-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
	r := layout.Realisation{OutPath: s.path("app"), Output: "out", DrvHash: layout.Hash{7}}
	key := layout.RealisationKey(r.ID())
	text := func(r layout.Realisation, keys ...signer.SecretKey) string {
		if err := r.Sign(keys...); err != nil {
			t.Fatal(err)
		}
		text, err := realisationText(key, r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := text(r, s.key)
	tr.must(key, want, true, Created)
	r.Dependents = map[layout.DrvOutput]layout.StorePath{}
	for i := range 1000 {
		r.Dependents[layout.DrvOutput{DrvHash: layout.Hash{8, byte(i), byte(i >> 8)}, Output: "out"}] = s.path("lib")
	}
	tr.must(key, text(r), true, Unchanged)
	tr.must(key, text(r, stranger), true, Unchanged)
	if got := contents(t, tr.tree)[key]; got != want {
		t.Errorf("the realisation is\n%.1000s, want\n%s", got, want)
	}
}

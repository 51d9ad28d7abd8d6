package inbox

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/signer"
)

// sendNARs sends every NAR of the sample.
func (tr *trial) sendNARs(s *sample) {
	tr.tb.Helper()
	for _, key := range s.keys() {
		if key.Kind() == layout.KindNAR {
			tr.must(key, s.objects[key], true, Created)
		}
	}
}

func TestRefusedByName(t *testing.T) {
	tr := newTrial(t, func(c *Config) { c.MaxFile, c.MaxLog = 1000, 2000 })
	hash := strings.Repeat("0", 52)
	path := strings.Repeat("0", 32)
	tests := []struct {
		key    layout.Key
		size   int64
		strict bool
		want   Reason
	}{
		{"nar/x.nar", -1, false, ForeignKey},
		{".DS_Store", 10, false, ForeignKey},
		{".nixstatic/lock", 10, false, ForeignKey},
		{".nixstatic/held/" + layout.Key(path) + ".narinfo", 10, false, ForeignKey},
		{"nar/" + layout.Key(strings.Repeat("z", 52)) + ".nar.xz", 10, false, ForeignKey},
		{"nar/" + layout.Key(hash) + ".nar.lzip", 10, false, BadCompression},
		{"nar/" + layout.Key(hash) + ".nar.xz", 1001, false, TooLarge},
		{"nar/" + layout.Key(hash) + ".nar.xz", 1000, false, ""},
		{"nar/" + layout.Key(hash) + ".nar.xz", 0, true, Empty},
		{"nar/" + layout.Key(hash) + ".nar.xz", 0, false, ""},
		{layout.Key(path) + ".narinfo", layout.MaxNarInfo + 1, false, TooLarge},
		{layout.Key(path) + ".narinfo", 0, true, Empty},
		{layout.Key(path) + ".ls", layout.KindListing.MaxBytes() + 1, false, TooLarge},
		{layout.Key(path) + ".ls", 0, true, Empty},
		{"log/" + layout.Key(path) + "-x.drv", 0, true, ""},
		{"log/" + layout.Key(path) + "-x.drv", 2001, true, TooLarge},
		{"debuginfo/" + layout.Key(strings.Repeat("0", 40)), layout.KindDebugInfo.MaxBytes() + 1, true, TooLarge},
		{"nix-cache-info", layout.KindCacheInfo.MaxBytes() + 1, true, TooLarge},
		{"index.html", layout.KindPage.MaxBytes() + 1, true, TooLarge},
		{"realisations/sha256:" + layout.Key(strings.Repeat("0", 64)) + "!out.doi", layout.MaxRealisation + 1, true, TooLarge},
	}
	for _, tt := range tests {
		err := tr.Check(t.Context(), tt.key, Options{Strict: tt.strict, Size: tt.size})
		if reasonOf(err) != tt.want || err != nil && tt.want == "" {
			t.Errorf("check %s of %d bytes: %v, want %q", tt.key, tt.size, err, tt.want)
		}
		if tt.want == "" {
			continue
		}
		_, err = tr.Put(t.Context(), tt.key, iotest.ErrReader(errors.New("the body was read")), Options{Strict: tt.strict, Size: tt.size})
		if reasonOf(err) != tt.want {
			t.Errorf("put %s of %d bytes: %v, want %q", tt.key, tt.size, err, tt.want)
		}
	}
}

// Our own listing is published, whatever is sent. A listing that differs in form
// alone is taken, and shown to its client as it was sent; another one is refused
// as soon as the NAR is known.
func TestListings(t *testing.T) {
	s := newSample(t)
	p := s.path("source")
	key, record := layout.ListingKey(p), layout.NarInfoKey(p)
	ours := s.objects[key]
	loose := strings.ReplaceAll(ours, `"executable":false,`, "") + " "
	wrong := strings.ReplaceAll(ours, "README", "README2")
	padded := ours[:1] + strings.Repeat(" ", 40<<10) + ours[1:]
	foreign := ours[:1] + `"k` + strings.Repeat("k", 40<<10) + `":0,` + ours[1:]
	long := ours + strings.Repeat(" ", looser*len(ours))
	for _, forget := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			if forget {
				c.Memory = 2048 // room for the listing, not for the notes
			}
		})
		tr.sendNARs(s)
		stays := func(when string) {
			t.Helper()
			if got := contents(t, tr.tree)[key]; got != ours {
				t.Errorf("%s the listing is\n%.1000s", when, got)
			}
		}
		tr.refused(key, "<html>", true, BadListing)
		for text, want := range map[string]Reason{
			"{}": BadListing, strings.ReplaceAll(ours, `"version":1`, `"version":2`): BadListing, wrong: ListingDiffers,
		} {
			tr.must(key, text, true, Held)
			tr.refused(record, s.objects[record], true, want)
		}
		tr.must(key, loose, true, Held)
		tr.must(record, s.objects[record], true, Created)
		stays("with the narinfo")
		tr.refused(key, wrong, true, ListingDiffers)
		tr.refused(key, "{}", true, BadListing)
		tr.refused(key, long, true, ListingDiffers)
		for _, same := range []string{ours, loose} {
			tr.must(key, same, true, Unchanged)
			tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
			tr.must(key, same, true, Replaced)
			stays("in the place of garbage,")
			tr.mem.Damage(key, func([]byte) []byte { return nil })
			tr.must(key, same, true, Created)
			stays("where there was none,")
			tr.mem.Damage(key, func([]byte) []byte { return []byte(wrong) })
			tr.must(key, same, true, Replaced)
			stays("in the place of a wrong one,")
		}
		for _, blown := range []string{padded, foreign} {
			if _, err := tr.send(key, blown, true); reasonOf(err) != ListingDiffers && reasonOf(err) != BadListing {
				t.Errorf("a listing of %d bytes, blown up to %d: %v", len(ours), len(blown), err)
			}
			stays("blown up,")
		}
		tr.must(key, loose, false, Unchanged)
		if got := tr.read(key); got != loose {
			t.Errorf("its client is shown\n%s", got)
		}
	}
	if _, err := nar.ParseListing(strings.NewReader(loose), 1<<20); err != nil {
		t.Error(err)
	}
}

// Frames in a listing are those of the NAR, or of another file, or wrong. Readers see
// our listing in any case.
func TestListingsWithFrames(t *testing.T) {
	s := newSample(t)
	p := s.path("source")
	key, record := layout.ListingKey(p), layout.NarInfoKey(p)
	ours := s.objects[key]
	with := func(file string) string {
		return strings.Replace(ours, `,"version":1}`, `,"seek":{"file":"`+file+`","frames":[[1,2],[3,4]]},"version":1}`, 1)
	}
	wrong, other := with(s.narInfo(t, "source").FileHash.String()), with(s.narInfo(t, "app").FileHash.String())
	tr := newTrial(t, nil)
	tr.sendNARs(s)
	tr.must(key, wrong, true, Held)
	tr.refused(record, s.objects[record], true, ListingDiffers)
	tr.must(key, other, true, Held)
	tr.must(record, s.objects[record], true, Created)
	tr.refused(key, wrong, true, ListingDiffers)
	tr.refused(key, strings.Replace(other, "[1,2]", "[1]", 1), true, BadListing)
	tr.must(key, other, true, Unchanged)
	if got := contents(t, tr.tree)[key]; got != ours {
		t.Errorf("published is\n%s", got)
	}
}

// A listing that is wrong, or not there, is mended when the NAR and the narinfo come
// again.
func TestListingIsMended(t *testing.T) {
	s := newSample(t)
	p := s.path("source")
	key, record, archive := layout.ListingKey(p), layout.NarInfoKey(p), s.nar(t, "source")
	for _, damage := range []string{"", "garbage", strings.ReplaceAll(s.objects[key], "README", "README2"), " " + s.objects[key]} {
		tr := newTrial(t, nil)
		tr.must(archive, s.objects[archive], true, Created)
		tr.must(record, s.objects[record], true, Created)
		tr.mem.Damage(key, func([]byte) []byte { return []byte(damage) })
		if damage == "" {
			tr.mem.Damage(key, func([]byte) []byte { return nil })
		}
		tr.restart()
		tr.must(record, s.objects[record], true, Unchanged) // which tells nothing of the NAR
		tr.must(archive, s.objects[archive], true, Unchanged)
		tr.must(record, s.objects[record], true, Unchanged)
		if got := contents(t, tr.tree)[key]; got != s.objects[key] {
			t.Errorf("in the place of %q: %q", damage, got)
		}
	}
}

func TestDebugInfo(t *testing.T) {
	s := newSample(t)
	id, other := "abcdef0123456789abcdef0123456789abcdef01", "abffff0123456789abcdef0123456789abcdef01"
	none := "0000000000000000000000000000000000000000"
	key := layout.Key("debuginfo/" + id + ".debug")
	archive := s.nar(t, "lib-debug")
	right := s.objects[key]
	absent := layout.DebugLink{ID: none, Member: "lib/debug/.build-id/00/" + none[2:] + ".debug"}
	record := layout.NarInfoKey(s.path("lib-debug"))
	for _, required := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) {
			c.Trusted, c.RequireSignature = signer.Trusted{s.key.Public()}, required
		})
		tr.refused(key, "{", true, BadDebugInfo)
		tr.refused(key, `{"archive":"../index.html","member":"x"}`, true, BadDebugInfo)
		tr.refused(key, strings.ReplaceAll(right, id[2:], other[2:]), true, BadDebugInfo)
		tr.must(absent.Keys()[0], string(absent.Marshal(archive)), true, Held)
		tr.must(key, right+" ", true, Held)
		tr.must(archive, s.objects[archive], true, Created)
		tr.refused(record, s.objects[record], true, BadDebugInfo)
		tr.must(record, s.objects[record], true, Created)
		for _, link := range []layout.Key{"debuginfo/" + layout.Key(id), "debuginfo/" + layout.Key(other), "debuginfo/" + layout.Key(other) + ".debug"} {
			if got := contents(t, tr.tree)[link]; got != s.objects[link] {
				t.Errorf("%s is %q", link, got)
			}
		}
		tr.refused(absent.Keys()[0], string(absent.Marshal(archive)), true, BadDebugInfo)
		tr.must(key, right, true, Unchanged)
		tr.must(key, right+" ", true, Unchanged)
		if got := contents(t, tr.tree)[key]; got != right {
			t.Errorf("the link is %q, not ours", got)
		}
		tr.mem.Damage(key, func([]byte) []byte { return nil })
		tr.must(key, right, true, Created)
		tr.mem.Damage(key, func([]byte) []byte { return []byte("garbage") })
		tr.must(key, right, true, Replaced)
	}
	// A link that leads nowhere is mended with the next upload of the path; one
	// that leads to another NAR stays.
	tr := newTrial(t, nil)
	gone := layout.NARKey(layout.Hash{9}, ".zst")
	elsewhere := s.nar(t, "source")
	link := layout.DebugLink{ID: id, Member: "lib/debug/.build-id/ab/" + id[2:] + ".debug"}
	tr.sendNARs(s)
	tr.mem.Damage(link.Keys()[0], func([]byte) []byte { return link.Marshal(gone) })
	tr.mem.Damage(link.Keys()[1], func([]byte) []byte { return link.Marshal(elsewhere) })
	tr.must(record, s.objects[record], true, Created)
	got := contents(t, tr.tree)
	if got[link.Keys()[0]] != right || got[link.Keys()[1]] != string(link.Marshal(elsewhere)) {
		t.Errorf("links are %q and %q", got[link.Keys()[0]], got[link.Keys()[1]])
	}
	// Nor does it go when a client says so, early or late, whichever client put
	// it there.
	tr.refused(link.Keys()[1], right, false, Conflict)
	tr.mem.Damage(record, func([]byte) []byte { return nil })
	tr.mem.Damage(archive, func([]byte) []byte { return nil })
	tr.refused(link.Keys()[1], right, false, Conflict)
	tr.must(archive, s.objects[archive], true, Created)
	tr.must(record, s.objects[record], true, Created)
	if got := contents(t, tr.tree)[link.Keys()[1]]; got != string(link.Marshal(elsewhere)) {
		t.Errorf("the link was redirected: %q", got)
	}
}

func TestLogsAndPages(t *testing.T) {
	tr := newTrial(t, nil)
	hash := strings.Repeat("0", 32)
	key := layout.Key("log/" + hash + "-we?ird.drv")
	short := layout.Key("log/" + hash + "-we")
	tr.must(key, "one", true, Created)
	tr.must(key, "one", true, Unchanged)
	tr.refused(key, "two", true, Conflict)
	tr.refused(key, "", true, Conflict)
	tr.refused(short, "two", true, Conflict)
	if got := contents(t, tr.tree); got[key] != "one" || got[short] != "one" {
		t.Errorf("the logs are %q and %q", got[key], got[short])
	}
	// The shorter name is that of several derivations: the first to come has it.
	other := layout.Key("log/" + hash + "-we?irder.drv")
	tr.must(other, "three", true, Created)
	if got := contents(t, tr.tree); got[other] != "three" || got[short] != "one" {
		t.Errorf("the logs are %q and %q", got[other], got[short])
	}
	tr.mem.Damage(key, func([]byte) []byte { return []byte{} }) // one without a word may be
	tr.must(key, "one", true, Replaced)
	tr.must(layout.Key("log/"+hash+"-large.drv"), strings.Repeat("log ", keptInMemory), true, Created)
	tr.must(layout.Key("log/"+hash+"-large?r.drv"), strings.Repeat("log ", keptInMemory), true, Created)

	tr.must("index.html", "mine", false, Created)
	tr.must("index.html", "yours", false, Unchanged)
	// A mirror may bring a page as large as any that a tree can have.
	large := strings.Repeat("<p>", int(layout.KindPage.MaxBytes())/3)
	tr.must("style.css", large, false, Created)
	if got, err := layout.ReadAll(t.Context(), tr.tree, "style.css"); string(got) != large {
		t.Errorf("%d of %d bytes of a large page are there, %v", len(got), len(large), err)
	}
	tr.refused("robots.txt", large+"<p>", false, TooLarge)
	if got, err := layout.ReadAll(t.Context(), tr.tree, "index.html"); string(got) != "mine" {
		t.Errorf("the page is %q, %v", got, err)
	}
}

func TestCacheInfo(t *testing.T) {
	tr := newTrial(t, nil)
	tr.refused(layout.CacheInfoKey, "<html>", true, BadCacheInfo)
	tr.refused(layout.CacheInfoKey, "StoreDir: /gnu/store\n", true, WrongStoreDir)
	tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Unchanged)
	ours := string(layout.DefaultCacheInfo().Marshal())
	if got := contents(t, tr.tree)[layout.CacheInfoKey]; got != ours {
		t.Errorf("it is %q", got)
	}
	tr.mem.Damage(layout.CacheInfoKey, func([]byte) []byte { return nil })
	tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Created)
	if got := contents(t, tr.tree)[layout.CacheInfoKey]; got != ours {
		t.Errorf("it is %q", got)
	}
}

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

// A body that breaks off, or has another size than announced, changes nothing
// and is the client's trouble.
func TestBrokenBodies(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	before := tr.mem.Keys()
	broken := errors.New("connection reset")
	for key, text := range s.objects {
		half := strings.NewReader(text[:len(text)/2])
		bodies := map[string]struct {
			r    io.Reader
			size int64
		}{
			"reset":     {io.MultiReader(half, iotest.ErrReader(broken)), -1},
			"too short": {strings.NewReader(text), int64(len(text)) + 1},
		}
		if len(text) > 0 {
			bodies["too long"] = struct {
				r    io.Reader
				size int64
			}{strings.NewReader(text), int64(len(text)) - 1}
		}
		for name, body := range bodies {
			_, err := tr.Put(t.Context(), key, body.r, Options{Size: body.size})
			if b := (*BodyError)(nil); !errors.As(err, &b) {
				t.Errorf("%s, %s: %v, want a BodyError", key, name, err)
			}
		}
	}
	if after := tr.mem.Keys(); !slices.Equal(before, after) {
		t.Errorf("the tree has %v", after)
	}
}

package inbox

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

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

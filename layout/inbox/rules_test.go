package inbox

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixstatic/nixstatic/layout"
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

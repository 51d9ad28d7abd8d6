package inbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// TestOverlayShowsWhatWasSent: after each upload of a tree that is signed by
// another key, in an order that has most of it held, the one who sent it sees it
// as it was sent. Programs that copy files look for that.
func TestOverlayShowsWhatWasSent(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	objects := s.objects
	objects[layout.CacheInfoKey] = "StoreDir: /nix/store\n"
	keys := s.keys()
	slices.SortStableFunc(keys, func(x, y layout.Key) int { return int(y.Kind()) - int(x.Kind()) })
	sent := map[layout.Key]int64{}
	for _, key := range keys {
		if _, err := tr.send(key, objects[key], false); err != nil {
			t.Fatalf("put %s: %v", key, err)
		}
		sent[key] = int64(len(objects[key]))
		if got := tr.read(key); got != objects[key] {
			t.Errorf("%s shows\n%s, was sent as\n%s", key, got, objects[key])
		}
	}
	shown := tr.sizes("")
	for key, size := range sent {
		if shown[key] != size {
			t.Errorf("%s is listed with %d bytes, was sent with %d", key, shown[key], size)
		}
	}
	// Readers see other bytes by now: records have our signatures.
	key := layout.NarInfoKey(s.path("app"))
	if got := contents(t, tr.tree)[key]; !strings.Contains(got, "Sig: ours-1:") {
		t.Errorf("the record in the tree is\n%s", got)
	}
	// Once someone else changes it, the tree tells.
	tr.mem.Damage(key, func(b []byte) []byte { return append(b, "X: y\n"...) })
	if got := tr.read(key); !strings.HasSuffix(got, "X: y\n") {
		t.Errorf("%s shows\n%s", key, got)
	}
	if got := tr.sizes("")[key]; got != int64(len(contents(t, tr.tree)[key])) {
		t.Errorf("%s is listed with %d bytes", key, got)
	}
}

// sizes lists what the overlay shows, in order.
func (tr *trial) sizes(prefix string) map[layout.Key]int64 {
	tr.tb.Helper()
	found := map[layout.Key]int64{}
	last := layout.Key("")
	for info, err := range tr.List(tr.tb.(*testing.T).Context(), prefix) {
		if err != nil {
			tr.tb.Fatal(err)
		}
		if info.Key <= last || !strings.HasPrefix(string(info.Key), prefix) {
			tr.tb.Errorf("%s is listed after %s", info.Key, last)
		}
		last = info.Key
		found[info.Key] = info.Size
		if info.Size > 0 {
			body, err := layout.OpenRange(tr.tb.(*testing.T).Context(), tr.Inbox, info, info.Size-1, info.Size)
			if err != nil {
				tr.tb.Fatal(err)
			}
			if text, err := io.ReadAll(body); err != nil || len(text) != 1 || body.Close() != nil {
				tr.tb.Errorf("the last byte of %s is %q, %v", info.Key, text, err)
			}
		}
		stat, err := tr.Stat(tr.tb.(*testing.T).Context(), info.Key)
		if err != nil || stat.Size != info.Size {
			tr.tb.Errorf("%s is listed with %d bytes, described with %d, %v", info.Key, info.Size, stat.Size, err)
		}
	}
	if prefix == "" {
		tr.sameTop()
	}
	return found
}

// sameTop checks that the top of the overlay is that of its whole listing.
func (tr *trial) sameTop() {
	tr.tb.Helper()
	entries := func(r layout.Reader) (found []layout.TopEntry) {
		for e, err := range layout.ListTop(tr.tb.(*testing.T).Context(), r) {
			if err != nil {
				tr.tb.Fatal(err)
			}
			found = append(found, e)
		}
		return found
	}
	if diff := cmp.Diff(entries(struct{ layout.Lister }{tr.Inbox}), entries(tr.Inbox)); diff != "" {
		tr.tb.Errorf("the top (-of the whole listing +got):\n%s", diff)
	}
}

// A foldered tree is one whose folders are not to be listed, and whose objects are not to
// be read from the beginning.
type foldered struct {
	layout.Tree
	tb testing.TB
}

func (f foldered) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	if prefix == "" {
		f.tb.Error("the whole tree is listed")
	}
	return f.Tree.List(ctx, prefix)
}

func (f foldered) Traits() layout.Traits { return layout.TraitsOf(f.Tree) }

func (f foldered) ListTop(ctx context.Context) iter.Seq2[layout.TopEntry, error] {
	return layout.ListTop(ctx, f.Tree)
}

func (f foldered) OpenRange(context.Context, layout.Info, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("part")), nil
}

// TestViewsPassOn: what a client sees of a tree costs no more than the tree itself: its
// top and parts of objects are asked for as such.
func TestViewsPassOn(t *testing.T) {
	s := newSample(t)
	mem := treetest.NewMem(t)
	mem.Like = layout.Traits{Folders: true}
	tr := trialOn(t, foldered{mem, t}, nil)
	nar := s.nar(t, "flat")
	tr.must(nar, s.objects[nar], false, Created)
	info, err := tr.Stat(t.Context(), nar)
	if err != nil {
		t.Fatal(err)
	}
	var top []string
	for e, err := range layout.ListTop(t.Context(), tr.Inbox) {
		if err != nil {
			t.Fatal(err)
		}
		top = append(top, string(e.Key)+e.Folder)
	}
	if diff := cmp.Diff([]string{"nar/"}, top); diff != "" {
		t.Errorf("the top (-want +got):\n%s", diff)
	}
	for name, view := range map[string]layout.Reader{"all": tr.Inbox, "Nix": tr.ForNix()} {
		if diff := cmp.Diff(mem.Like, layout.TraitsOf(view)); diff != "" {
			t.Errorf("%s: traits (-want +got):\n%s", name, diff)
		}
		body, err := layout.OpenRange(t.Context(), view, info, 2, 6)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(body); string(text) != "part" || err != nil {
			t.Errorf("%s: a part is read as %q, %v", name, text, err)
		}
	}
	tr.damaged.add(info)
	for name, view := range map[string]layout.Reader{"all": tr.Inbox, "Nix": tr.ForNix()} {
		if _, err := layout.OpenRange(t.Context(), view, info, 2, 6); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a part of a damaged NAR: %v", name, err)
		}
	}
}

func TestOverlayOfHeld(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	narinfo, ls := layout.NarInfoKey(s.path("flat")), layout.ListingKey(s.path("flat"))
	link := layout.Key("debuginfo/abcdef0123456789abcdef0123456789abcdef01")
	empty := layout.Key("log/" + strings.Repeat("0", 32) + "-x.drv")
	nar := s.nar(t, "flat")
	for _, key := range []layout.Key{narinfo, ls, link} {
		tr.must(key, s.objects[key], false, Held)
	}
	tr.must(empty, "", false, Created) // a log may be empty
	tr.must(nar, "", false, Held)      // a placeholder
	tr.must("style.css", "", false, Held)
	want := map[layout.Key]int64{
		layout.CacheInfoKey: int64(len(layout.DefaultCacheInfo().Marshal())),
		narinfo:             int64(len(s.objects[narinfo])), ls: int64(len(s.objects[ls])), link: int64(len(s.objects[link])),
		empty: 0, nar: 0, "style.css": 0,
	}
	if diff := cmp.Diff(want, tr.sizes("")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[layout.Key]int64{nar: 0}, tr.sizes("nar/")); diff != "" {
		t.Errorf("listed below nar/ (-want +got):\n%s", diff)
	}
	for key := range want {
		tr.read(key)
	}
	for range tr.List(t.Context(), "") {
		break
	}
	// Readers see none of it.
	if got := len(contents(t, tr.tree)); got != 2 {
		t.Errorf("the tree has %d objects", got)
	}
	for _, key := range []layout.Key{".nixstatic/held/" + narinfo, "nar/x", layout.Key(strings.Repeat("0", 32) + ".ls")} {
		if _, err := tr.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v", key, err)
		}
		if _, _, err := tr.Get(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v", key, err)
		}
	}
	// A placeholder hides nothing, and goes when the bytes come.
	tr.must(nar, s.objects[nar], false, Created)
	tr.must(nar, "", false, Held)
	tr.must(narinfo, "", false, Held)
	if got := tr.sizes("")[nar]; got != int64(len(s.objects[nar])) {
		t.Errorf("the NAR is listed with %d bytes", got)
	}
	if got := tr.read(narinfo); got != s.objects[narinfo] {
		t.Errorf("the narinfo is %q", got)
	}
}

// An object that could not be told of is not called absent (I5).
func TestOverlayFaults(t *testing.T) {
	s := newSample(t)
	mem := treetest.NewMem(t)
	faulty := &treetest.Faulty{Tree: mem}
	tr := trialOn(t, faulty, nil)
	key := layout.NarInfoKey(s.path("flat"))
	tr.must(key, s.objects[key], false, Held)
	tr.must("style.css", "", false, Held)
	for _, key := range []layout.Key{key, "style.css", "robots.txt"} {
		faulty.Fault = treetest.Fault{At: faulty.Ops() + 1, Down: true}
		if _, err := tr.Stat(t.Context(), key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v", key, err)
		}
		if _, _, err := tr.Get(t.Context(), key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v", key, err)
		}
		faulty.Fault = treetest.Fault{}
	}
	faulty.Fault = treetest.Fault{At: faulty.Ops() + 1, Down: true}
	failed := false
	for _, err := range tr.List(t.Context(), "") {
		failed = failed || err != nil
	}
	if !failed {
		t.Error("a listing that broke off looks whole")
	}
	faulty.Fault = treetest.Fault{}
}

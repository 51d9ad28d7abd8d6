package inbox

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
)

// interrupted does something before its n-th operation.
type interrupted struct {
	layout.Tree
	n  int
	do func()
}

func (i *interrupted) count() {
	if i.n--; i.n == 0 {
		i.do()
	}
}

func (i *interrupted) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	i.count()
	return i.Tree.Get(ctx, key)
}

func (i *interrupted) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	i.count()
	return i.Tree.Stat(ctx, key)
}

func (i *interrupted) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	i.count()
	return i.Tree.Put(ctx, key, body, opts)
}

func (i *interrupted) Delete(ctx context.Context, key layout.Key) error {
	i.count()
	return i.Tree.Delete(ctx, key)
}

// TestHeldByTwo: of one path, two processes hold the narinfo with different
// signatures, or one holds it while the other publishes it, at every moment of
// that. None of the signatures is lost: whoever sent one was told that it waits.
func TestHeldByTwo(t *testing.T) {
	s := newSample(t)
	signed := func(name string) string {
		n := s.narInfo(t, "flat")
		n.AddSigs(name + "-1:" + strings.Repeat("A", 86) + "==")
		return string(n.Marshal(layout.DefaultStoreDir))
	}
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	moments := 0
	for n := 0; ; n++ {
		ours := newTrial(t, nil)
		theirs := trialOn(t, ours.mem, nil)
		ours.must(key, signed("alice"), false, Held)
		sent := n == 0
		if sent { // held twice before anything is published
			theirs.must(key, signed("bob"), false, Held)
		}
		tree := &interrupted{Tree: ours.mem, n: n, do: func() {
			sent = true
			if _, err := theirs.send(key, signed("bob"), false); err != nil {
				t.Errorf("before operation %d: %v", n, err)
			}
		}}
		ours.Inbox.writer.Tree = tree
		if _, err := ours.send(nar, s.objects[nar], true); err != nil {
			t.Errorf("operation %d: %v", n, err)
		}
		ours.Inbox.writer.Tree = ours.mem
		if !sent {
			break
		}
		moments = n
		for _, tr := range []*trial{theirs, ours} {
			if err := tr.Settle(t.Context()); err != nil {
				t.Errorf("operation %d: %v", n, err)
			}
		}
		var names []string
		if record, err := layout.ParseNarInfo([]byte(contents(t, ours.mem)[key]), layout.DefaultStoreDir); err != nil {
			t.Errorf("operation %d: %v", n, err)
		} else {
			for _, sig := range record.Sigs {
				name, _, _ := strings.Cut(sig, ":")
				names = append(names, name)
			}
		}
		if !slices.Contains(names, "alice-1") || !slices.Contains(names, "bob-1") {
			t.Errorf("before operation %d: signed by %v, want alice and bob too", n, names)
		}
		for info, err := range ours.mem.List(t.Context(), heldPrefix) {
			t.Errorf("operation %d: still held: %s, %v", n, info.Key, err)
		}
		if err := fsck.Whole(t.Context(), ours.mem, fsck.Options{Deep: true}); err != nil {
			t.Errorf("operation %d: %v", n, err)
		}
	}
	if moments < 10 {
		t.Errorf("only %d moments were tried", moments)
	}
}

// TestHeldAndSent: a narinfo that waits has signatures that the one with which
// the path is published does not have. They are added.
func TestHeldAndSent(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	n := s.narInfo(t, "flat")
	n.AddSigs("alice-1:" + strings.Repeat("A", 86) + "==")
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), false, Held)
	// Another process brings the NAR, so that nobody here knows.
	other := trialOn(t, tr.mem, nil)
	other.Inbox.held = map[string]*held{}
	other.Inbox.needed = map[layout.Key]map[string]bool{}
	other.must(nar, s.objects[nar], true, Created)
	if _, err := tr.send(key, s.objects[key], true); err != nil {
		t.Fatal(err)
	}
	if text := contents(t, tr.mem)[key]; !strings.Contains(text, "alice-1:") {
		t.Errorf("what was held is lost:\n%s", text)
	}
	for info := range tr.mem.List(t.Context(), heldPrefix) {
		t.Errorf("still held: %s", info.Key)
	}
}

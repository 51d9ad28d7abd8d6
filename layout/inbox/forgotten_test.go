package inbox

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A held narinfo that turns out wrong is dropped, and one that waits too long.
func TestHeldIsDropped(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, func(c *Config) { c.MaxHeld = 3 })
	n := s.narInfo(t, "flat")
	n.NarSize--
	n.CA, n.Sigs = "", nil
	key, nar := layout.NarInfoKey(n.Path), s.nar(t, "flat")
	tr.must(key, string(n.Marshal(layout.DefaultStoreDir)), false, Held)
	tr.must(nar, s.objects[nar], false, Created)
	if len(tr.held) > 0 || !strings.Contains(tr.log.String(), "nar-differs") {
		t.Errorf("held: %v, log: %s", tr.held, tr.log)
	}
	for _, name := range []string{"source", "lib"} {
		key := layout.NarInfoKey(s.path(name))
		tr.must(key, s.objects[key], false, Held)
		tr.must(key, s.objects[key], false, Held)
	}
	key = layout.NarInfoKey(s.path("app"))
	tr.refused(key, s.objects[key], false, TooManyHeld)

	old := &aged{Tree: tr.mem, by: heldFor + time.Minute}
	later := trialOn(t, old, nil)
	if len(later.held) > 0 {
		t.Errorf("still held: %v", later.held)
	}
	for _, key := range tr.mem.Keys() {
		if key.Kind() == layout.KindPrivate {
			t.Errorf("%s is still there", key)
		}
	}
}

// aged is a tree whose objects are older.
type aged struct {
	layout.Tree
	by time.Duration
}

func (a *aged) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		for info, err := range a.Tree.List(ctx, prefix) {
			info.ModTime = info.ModTime.Add(-a.by)
			if !yield(info, err) {
				return
			}
		}
	}
}

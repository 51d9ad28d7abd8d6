package inbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// FuzzPut sends anything under any name to a tree that has all NARs of the sample
// and a few paths. A refusal never changes anything, and the tree stays whole.
func FuzzPut(f *testing.F) {
	s := newSample(f)
	for key, text := range s.objects {
		if len(text) < 10_000 {
			f.Add(string(key), []byte(text), true, false)
		}
	}
	f.Add("nar/x.nar", []byte("\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00"), false, true)
	f.Add("nar/x.nar", []byte("\x1f\x8b"), false, true)
	mem := treetest.NewMem(nil)
	if _, err := layout.Init(context.Background(), mem, layout.DefaultCacheInfo()); err != nil {
		f.Fatal(err)
	}
	tr := trialOn(f, mem, func(c *Config) { c.MaxNarSize, c.Memory = 1<<20, 1<<20 })
	ready := func() {
		for _, key := range s.keys() {
			if key.Kind() == layout.KindNAR {
				tr.send(key, s.objects[key], true)
			}
		}
		for _, name := range []string{"source", "flat"} {
			key := layout.NarInfoKey(s.path(name))
			tr.send(key, s.objects[key], true)
		}
	}
	var before map[layout.Key]string // nil: the tree is to be made anew
	f.Fuzz(func(t *testing.T, name string, body []byte, strict, rename bool) {
		if rename { // else no NAR would ever have the right name
			name = string(layout.NARKey(sha256.Sum256(body), ""))
		}
		key, err := layout.ParseKey(name)
		if err != nil {
			return
		}
		// Every input meets the same tree. Most are refused, and leave it as it was.
		tr.tb = t
		if before == nil {
			for _, key := range mem.Keys() {
				if key != layout.CacheInfoKey {
					mem.Damage(key, func([]byte) []byte { return nil })
				}
			}
			tr.restart()
			ready()
			before = contents(t, tr.tree)
		}
		mem.Counts()
		outcome, err := tr.Put(context.Background(), key, bytes.NewReader(body), Options{Strict: strict, Size: int64(len(body))})
		if err != nil {
			if r := (*Refusal)(nil); !errors.As(err, &r) || len(r.Msg) > maxMsg {
				t.Errorf("put %s: %v", key, err)
			}
		}
		if counts := mem.Counts(); err != nil && counts.Put == 0 && counts.Delete == 0 {
			return
		}
		was, after := before, contents(t, tr.tree)
		before = nil
		if (err != nil || outcome == Unchanged || outcome == Held) && !maps.Equal(was, after) {
			t.Errorf("put %s: %v, %v, and the tree has changed", key, outcome, err)
		}
		if err := fsck.Whole(context.Background(), tr.tree, fsck.Options{Deep: true}); err != nil {
			t.Errorf("put %s: %v", key, err)
		}
		if broken := mem.Violations(); len(broken) > 0 {
			t.Fatal(broken)
		}
	})
}

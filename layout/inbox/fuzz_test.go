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

// A fuzzed is an inbox over a tree that has all NARs of the sample and a few
// paths. Every input meets the same: the tree is given back what it had, and the
// inbox is opened anew if it may remember something.
type fuzzed struct {
	*trial
	s    *sample
	had  map[layout.Key]string
	stay bool // the inbox knows nothing of earlier inputs
}

func newFuzzed(f *testing.F) *fuzzed {
	mem := treetest.NewMem(nil)
	if _, err := layout.Init(context.Background(), mem, layout.DefaultCacheInfo()); err != nil {
		f.Fatal(err)
	}
	tr := trialOn(f, mem, func(c *Config) { c.MaxNarSize, c.Memory = 1<<20, 1<<20 })
	tr.mem = mem
	z := &fuzzed{trial: tr, s: newSample(f)}
	for _, key := range z.s.keys() {
		if key.Kind() == layout.KindNAR {
			tr.send(key, z.s.objects[key], true)
		}
	}
	for _, name := range []string{"source", "flat"} {
		key := layout.NarInfoKey(z.s.path(name))
		tr.send(key, z.s.objects[key], true)
	}
	z.had = contents(f, tr.tree)
	return z
}

// put sends a body, and wants that a refusal changes nothing and that the tree stays
// whole.
func (z *fuzzed) put(t *testing.T, key layout.Key, body []byte, strict bool) {
	z.tb = t
	if !z.stay {
		z.restart()
	}
	z.mem.Counts()
	outcome, err := z.Put(context.Background(), key, bytes.NewReader(body), Options{Strict: strict, Size: int64(len(body))})
	if r := (*Refusal)(nil); err != nil && (!errors.As(err, &r) || len(r.Msg) > maxMsg) {
		t.Errorf("put %s: %v", key, err)
	}
	counts := z.mem.Counts()
	if z.stay = err != nil && counts.Put == 0 && counts.Delete == 0; z.stay {
		return
	}
	after := contents(t, z.tree)
	if (err != nil || outcome == Unchanged || outcome == Held) && !maps.Equal(z.had, after) {
		t.Errorf("put %s: %v, %v, and the tree has changed", key, outcome, err)
	}
	if err := fsck.Whole(context.Background(), z.tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("put %s: %v", key, err)
	}
	if broken := z.mem.Violations(); len(broken) > 0 {
		t.Fatal(broken)
	}
	for _, key := range z.mem.Keys() {
		if text, ok := z.had[key]; !ok {
			z.mem.Damage(key, func([]byte) []byte { return nil })
		} else if text != after[key] {
			z.mem.Damage(key, func([]byte) []byte { return []byte(text) })
		}
	}
}

// FuzzPut sends anything under any name. Logs and pages are taken as they are, and
// NARs have a target of their own.
func FuzzPut(f *testing.F) {
	z := newFuzzed(f)
	parsed := func(key layout.Key) bool {
		kind := key.Kind()
		return kind != layout.KindLog && kind != layout.KindPage && kind != layout.KindNAR
	}
	for key, text := range z.s.objects {
		if parsed(key) && len(text) < 10_000 {
			f.Add(string(key), []byte(text), true)
		}
	}
	f.Fuzz(func(t *testing.T, name string, body []byte, strict bool) {
		if key, err := layout.ParseKey(name); err == nil && parsed(key) {
			z.put(t, key, body, strict)
		}
	})
}

// FuzzPutNAR sends NARs of any kind under the name that they promise.
func FuzzPutNAR(f *testing.F) {
	z := newFuzzed(f)
	extensions := []string{"", ".zst", ".xz", ".bz2", ".br", ".lz4", ".gz"}
	for key, text := range z.s.objects {
		if key.Kind() == layout.KindNAR && len(text) < 10_000 {
			for i, ext := range extensions {
				if ext == extension(key) {
					f.Add([]byte(text), byte(i), true)
				}
			}
		}
	}
	f.Add([]byte("\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00"), byte(0), false)
	f.Add([]byte("\x1f\x8b"), byte(0), false)
	f.Fuzz(func(t *testing.T, body []byte, ext byte, strict bool) {
		z.put(t, layout.NARKey(sha256.Sum256(body), extensions[int(ext)%len(extensions)]), body, strict)
	})
}

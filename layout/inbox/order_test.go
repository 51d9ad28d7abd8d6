package inbox

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// TestAnyOrder sends a whole tree in random orders, as programs that copy files
// do, with restarts in between, and with so little memory that nearly all notes
// are forgotten. It always ends in the same tree.
func TestAnyOrder(t *testing.T) {
	s := newSample(t)
	for seed := range uint64(200 / quick.Step(20)) {
		rng := rand.New(rand.NewPCG(seed, 0))
		keys := s.keys()
		rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tr := newTrial(t, func(c *Config) {
				c.Trusted = signer.Trusted{s.key.Public()}
				switch seed % 4 {
				case 1:
					c.Memory = 1 // nothing is remembered
				case 2:
					c.Memory = 8 << 10
				case 3:
					c.Writer.Keys = []signer.SecretKey{s.key}
				}
				c.RequireSignature = seed%8 >= 4
			})
			for _, key := range keys {
				if _, err := tr.send(key, s.objects[key], false); err != nil {
					t.Fatalf("put %s: %v", key, err)
				}
				if seed%5 == 0 && rng.IntN(10) == 0 {
					tr.restart()
				}
			}
			tr.wantTree(s.objects, fsck.Options{Trusted: tr.cfg.Trusted})
		})
		if !ok {
			return
		}
	}
}

// nixOrder returns the keys of a tree in the order in which Nix sends them, up
// to 2.34 or from 2.35.
func nixOrder(t *testing.T, s *sample, modern bool) []layout.Key {
	t.Helper()
	var first, second, last []layout.Key
	for _, p := range s.paths.Paths {
		first = append(first, layout.ListingKey(p.Info.Path))
		nar := s.nar(t, p.Info.Path.Name())
		for key, text := range s.objects {
			if key.Kind() == layout.KindDebugInfo && path.Ext(string(key)) == ".debug" && strings.Contains(string(text), string(nar)) {
				first = append(first, key)
			}
		}
		first = append(first, nar)
		if modern {
			second = append(second, layout.NarInfoKey(p.Info.Path))
		} else {
			first = append(first, layout.NarInfoKey(p.Info.Path))
		}
	}
	for _, key := range s.keys() {
		if kind := key.Kind(); kind == layout.KindRealisation || kind == layout.KindLog {
			last = append(last, key)
		}
	}
	return slices.Concat(first, second, last)
}

func TestNixOrders(t *testing.T) {
	s := newSample(t)
	for _, modern := range []bool{false, true} {
		for _, withExtras := range []bool{false, true} {
			t.Run(fmt.Sprintf("modern %v, listings and links %v", modern, withExtras), func(t *testing.T) {
				tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{s.key} })
				tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Unchanged)
				for _, key := range nixOrder(t, s, modern) {
					kind := key.Kind()
					if !withExtras && (kind == layout.KindListing || kind == layout.KindDebugInfo) {
						continue
					}
					if _, err := tr.send(key, s.objects[key], true); err != nil {
						t.Fatalf("put %s: %v", key, err)
					}
				}
				tr.must("index.html", s.objects["index.html"], false, Created)
				tr.wantTree(s.objects, fsck.Options{Trusted: signer.Trusted{s.key.Public()}})
			})
		}
	}
}

// TestSecondTime: sending all again changes nothing.
func TestSecondTime(t *testing.T) {
	s := newSample(t)
	for _, restart := range []bool{false, true} {
		tr := newTrial(t, nil)
		for _, key := range nixOrder(t, s, true) {
			if _, err := tr.send(key, s.objects[key], true); err != nil {
				t.Fatalf("put %s: %v", key, err)
			}
		}
		if restart {
			tr.restart()
		}
		for _, key := range nixOrder(t, s, false) {
			tr.must(key, s.objects[key], true, Unchanged)
		}
	}
}

// TestHeldAcrossRestart holds narinfos, and ends every process, before the NARs
// come.
func TestHeldAcrossRestart(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	want := map[layout.Key]string{}
	var nars []layout.Key
	for _, key := range s.keys() {
		switch key.Kind() {
		case layout.KindNarInfo:
			tr.must(key, s.objects[key], false, Held)
			want[key] = s.objects[key]
		case layout.KindListing, layout.KindDebugInfo, layout.KindCacheInfo:
			want[key] = s.objects[key]
		case layout.KindNAR:
			nars = append(nars, key)
			want[key] = s.objects[key]
		}
	}
	tr.restart()
	for _, key := range nars {
		tr.must(key, s.objects[key], false, Created)
	}
	tr.wantTree(want, fsck.Options{})
}

// TestBehindOurBack: what held narinfos wait for comes by another process.
func TestBehindOurBack(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	for _, p := range s.paths.Paths {
		key := layout.NarInfoKey(p.Info.Path)
		tr.must(key, s.objects[key], false, Held)
	}
	other := trialOn(t, tr.mem, nil)
	for _, key := range s.keys() {
		if key.Kind() == layout.KindNAR {
			other.must(key, s.objects[key], false, Created)
		}
	}
	// The other opened its inbox with all of them held, so it publishes them; ours
	// finds that out.
	if err := tr.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.paths.Paths {
		key := layout.NarInfoKey(p.Info.Path)
		tr.must(key, s.objects[key], true, Unchanged)
	}
	if len(tr.held)+len(tr.heldOf)+len(tr.needed)+len(tr.holds)+len(tr.queue.lines)+len(tr.queue.turns) > 0 || tr.holding != (holding{}) {
		t.Errorf("still held: %v, %v, %v, %v", tr.held, tr.needed, tr.holding, tr.queue)
	}
}

// TestSettleFindsWhatCame: objects came without the inbox being told.
func TestSettleFindsWhatCame(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	key := layout.NarInfoKey(s.path("flat"))
	tr.must(key, s.objects[key], false, Held)
	tr.mem.Damage(s.nar(t, "flat"), func([]byte) []byte { return []byte(s.objects[s.nar(t, "flat")]) })
	if err := tr.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.tree.Stat(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// TestUnflushed has another process killed on the same tree after it put NARs: no
// narinfo appears on top of them before they are flushed.
func TestUnflushed(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	keys := nixOrder(t, s, false)
	for _, key := range keys {
		if key.Kind() == layout.KindNAR {
			treetest.PutText(t, tr.mem, key, s.objects[key])
		}
	}
	tr.mem.Unflush()
	for _, key := range keys {
		if key.Kind() == layout.KindNAR {
			continue // Nix is told that it is there
		}
		if _, err := tr.send(key, s.objects[key], false); err != nil {
			t.Errorf("put %s: %v", key, err)
		}
	}
}

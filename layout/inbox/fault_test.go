package inbox

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// TestFaults lets each operation on the tree fail once, before or after it
// happened. The upload that meets it fails or succeeds; after sending again what
// failed, the tree is the one it should be. The tree in memory sees to it that no
// invariant breaks in between; a directory has a spool and batches of its own.
func TestFaults(t *testing.T) {
	s := newSample(t)
	rng := rand.New(rand.NewPCG(1, 1))
	shuffled := s.keys()
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, kind := range []struct {
		name  string
		fresh func(*testing.T) layout.Tree
		steps int // that fail; a directory is slower
	}{
		{"memory", func(t *testing.T) layout.Tree { return treetest.NewMem(t) }, 80},
		{"directory", func(t *testing.T) layout.Tree { return treetest.OpenDir(t, t.TempDir()) }, 12},
	} {
		for _, strict := range []bool{true, false} {
			keys := shuffled
			if strict {
				keys = append(nixOrder(t, s, true), layout.CacheInfoKey, "index.html")
			}
			run := func(t *testing.T, fault treetest.Fault) int {
				return runWithFault(t, s, keys, strict, kind.fresh(t), fault)
			}
			total := run(t, treetest.Fault{})
			if total < 100 {
				t.Fatalf("%d operations", total)
			}
			for at := 1; at <= total; at += 1 + total*quick.Step(20)/kind.steps {
				for _, done := range []bool{false, true} {
					name := fmt.Sprintf("%s, strict %v, operation %d, happened %v", kind.name, strict, at, done)
					if !t.Run(name, func(t *testing.T) { run(t, treetest.Fault{At: at, Done: done}) }) {
						return
					}
				}
			}
		}
	}
}

func runWithFault(t *testing.T, s *sample, keys []layout.Key, strict bool, tree layout.Tree, fault treetest.Fault) (ops int) {
	faulty := &treetest.Faulty{Tree: tree}
	tr := trialOn(t, faulty, func(c *Config) { c.Writer.Spool = nil }) // the tree's own
	faulty.Fault = fault
	before := faulty.Ops()
	if fault.At > 0 {
		faulty.Fault.At += before
	}
	var again []layout.Key
	for _, key := range keys {
		if _, err := tr.send(key, s.objects[key], strict); err != nil {
			if reason := reasonOf(err); reason != "" && reason != MissingReference && reason != MissingNAR {
				t.Errorf("put %s: %v", key, err)
			}
			again = append(again, key)
		}
	}
	ops = faulty.Ops() - before
	faulty.Fault = treetest.Fault{}
	for _, key := range again {
		if _, err := tr.send(key, s.objects[key], strict); err != nil {
			t.Errorf("put %s again: %v", key, err)
		}
	}
	if err := tr.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	// A cache-info that was lost and written anew has our defaults, as the sample
	// has.
	tr.wantTree(s.objects, fsck.Options{})
	return ops
}

// TestDiskFull: the client is told, not left to try again, whichever step finds
// the disk full.
func TestDiskFull(t *testing.T) {
	s := newSample(t)
	for _, full := range []treetest.Op{treetest.OpPut, treetest.OpCreate, treetest.OpWrite, treetest.OpDone} {
		t.Run(string(full), func(t *testing.T) {
			mem := treetest.NewMem(t)
			faulty := &treetest.Faulty{Tree: mem}
			tr := trialOn(t, faulty, func(c *Config) { c.Writer.Spool = nil })
			faulty.Fault = treetest.Fault{At: 1, Down: true, Err: syscall.ENOSPC, Only: func(op treetest.Op, _ layout.Key) bool { return op == full }}
			for _, key := range nixOrder(t, s, true) {
				_, err := tr.send(key, s.objects[key], false)
				spooled := key.Kind() == layout.KindNAR
				switch {
				case !spooled && full != treetest.OpPut:
				case key.Kind() == layout.KindListing, key.Kind() == layout.KindDebugInfo: // held in memory
				case reasonOf(err) != NoSpace:
					t.Errorf("put %s: %v", key, err)
				}
			}
		})
	}
}

// A damaged NAR counts as missing, and is mended by sending it again.
func TestDamagedNAR(t *testing.T) {
	s := newSample(t)
	for _, restart := range []bool{false, true} {
		for _, edit := range []func([]byte) []byte{
			func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			func(b []byte) []byte { return b[:len(b)-1] },
		} {
			tr := newTrial(t, nil)
			nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
			tr.must(nar, s.objects[nar], true, Created)
			tr.mem.Damage(nar, edit)
			if restart {
				tr.restart()
			}
			tr.refused(key, s.objects[key], true, MissingNAR)
			// Nix asks before it sends.
			if _, err := tr.ForNix().Stat(t.Context(), nar); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a damaged NAR is shown: %v", err)
			}
			if _, ok := tr.sizes("nar/")[nar]; ok {
				t.Error("a damaged NAR is listed")
			}
			tr.must(key, s.objects[key], false, Held)
			if outcome, err := tr.send(nar, s.objects[nar], true); err != nil || outcome == Created {
				t.Errorf("put it again: %v, %v", outcome, err)
			}
			got := contents(t, tr.tree)
			if got[nar] != s.objects[nar] || got[key] != s.objects[key] {
				t.Error("not mended, or not published")
			}
			if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true}); err != nil {
				t.Error(err)
			}
		}
	}
}

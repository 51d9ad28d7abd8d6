package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
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

// TestGoldenCounts: what an upload costs. No NAR is read back.
func TestGoldenCounts(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	var gets []layout.Key
	tr.Inbox.writer.Tree = &watched{Tree: tr.mem, get: func(key layout.Key) { gets = append(gets, key) }}
	seen := map[layout.Key]bool{} // two paths share a NAR
	for _, key := range nixOrder(t, s, false) {
		if key.Kind() == layout.KindRealisation || key.Kind() == layout.KindLog || seen[key] {
			continue
		}
		seen[key] = true
		if _, err := tr.send(key, s.objects[key], true); err != nil {
			t.Fatal(err)
		}
		name := key.Kind().String()
		if key == layout.NarInfoKey(s.path("app")) {
			name = "narinfo of app"
		} else if key.Kind() == layout.KindNarInfo && key != layout.NarInfoKey(s.path("flat")) {
			tr.mem.Counts()
			continue
		}
		want, ok := map[string]treetest.Counts{
			"ls":             {Get: 1},                  // is the path there?
			"debuginfo":      {Get: 1, Stat: 1},         // is the link there? is the NAR?
			"nar":            {Stat: 2, Put: 1},         // is it there? what has it become?
			"narinfo":        {Get: 1, Stat: 1, Put: 2}, // is it there? is its NAR?
			"narinfo of app": {Get: 1, Stat: 3, Put: 2}, // and its two references
		}[name]
		if got := tr.mem.Counts(); ok && got != want {
			t.Errorf("%s costs %+v, want %+v", key, got, want)
		}
	}
	for _, key := range gets {
		if key.Kind() == layout.KindNAR && key != s.nar(t, "selfish") {
			t.Errorf("%s was read back", key)
		}
	}
	// The one address that the first pass cannot prove.
	if !slices.Contains(gets, s.nar(t, "selfish")) {
		t.Error("the address of a path that refers to itself was not proved")
	}
}

type watched struct {
	layout.Tree
	get func(layout.Key)
}

func (w *watched) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	w.get(key)
	return w.Tree.Get(ctx, key)
}

// TestReceiptsAreGivenBack: whatever is forgotten or used, files do not pile up.
func TestReceiptsAreGivenBack(t *testing.T) {
	s := newSample(t)
	for _, memory := range []int64{1, 4 << 10, 1 << 20} {
		spool := &countedSpool{Spool: layout.TempSpool(t.TempDir())}
		tr := newTrial(t, func(c *Config) { c.Memory, c.Writer.Spool = memory, spool })
		for _, key := range nixOrder(t, s, true) {
			if _, err := tr.send(key, s.objects[key], true); err != nil {
				t.Fatal(err)
			}
		}
		tr.send(s.nar(t, "app"), s.objects[s.nar(t, "app")][:1000], false)
		tr.Close()
		if n := spool.open.Load(); n != 0 {
			t.Errorf("memory %d: %d files were not given back", memory, n)
		}
	}
}

type countedSpool struct {
	layout.Spool
	open atomic.Int64
}

func (s *countedSpool) Create() (layout.SpoolFile, error) {
	f, err := s.Spool.Create()
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &countedFile{SpoolFile: f, spool: s}, nil
}

type countedFile struct {
	layout.SpoolFile
	spool *countedSpool
	once  sync.Once
}

func (f *countedFile) Discard() {
	f.once.Do(func() { f.spool.open.Add(-1) })
	f.SpoolFile.Discard()
}

// Signatures by keys that the server does not know are few and small, however
// many come, at once or one after the other; those by known keys always have
// room.
func TestStrangeSignatures(t *testing.T) {
	s := newSample(t)
	for _, held := range []bool{false, true} {
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
		before := len(s.objects[key])
		if !held {
			tr.must(nar, s.objects[nar], true, Created)
		}
		send := func(n *layout.NarInfo) {
			t.Helper()
			slices.Sort(n.Sigs)
			if _, err := tr.send(key, string(n.Marshal(layout.DefaultStoreDir)), false); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			n := s.narInfo(t, "flat")
			n.Sigs = nil
			for j := range 1000 {
				n.Sigs = append(n.Sigs, fmt.Sprintf("junk-%d-%d:%s", i, j, strings.Repeat("A", 86)+"=="))
			}
			n.Sigs = append(n.Sigs, strings.Repeat("long", 50)+":"+strings.Repeat("A", 86)+"==")
			send(n)
		}
		if held {
			tr.must(nar, s.objects[nar], true, Created)
		}
		send(s.narInfo(t, "flat"))
		text := contents(t, tr.tree)[key]
		if strange := strings.Count(text, "Sig: ") - strings.Count(text, "Sig: "+s.key.Name()+":"); strange != maxStrange {
			t.Errorf("held %v: %d signatures by strangers", held, strange)
		}
		if !strings.Contains(text, "Sig: "+s.key.Name()+":") || len(text) > before+maxStrange*(maxStrangeSize+10) {
			t.Errorf("held %v: the record has %d bytes\n%.1000s", held, len(text), text)
		}
	}
}

// The same of realisations.
func TestStrangeSignaturesOfRealisations(t *testing.T) {
	s := newSample(t)
	for key, text := range s.objects {
		if key.Kind() != layout.KindRealisation {
			continue
		}
		tr := newTrial(t, func(c *Config) { c.Trusted = signer.Trusted{s.key.Public()} })
		for i := range 20 {
			r, err := layout.ParseRealisation(key, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Sigs, r.TraceSigs = nil, nil
			for j := range 100 {
				sig := fmt.Sprintf("junk-%d-%d:%s", i, j, strings.Repeat("A", 86)+"==")
				r.Sigs, r.TraceSigs = append(r.Sigs, sig), append(r.TraceSigs, sig)
			}
			blown, err := realisationText(key, r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.send(key, string(blown), true); err != nil {
				t.Fatal(err)
			}
		}
		tr.must(key, text, true, Merged)
		r, err := layout.ParseRealisation(key, []byte(contents(t, tr.tree)[key]))
		if err != nil || len(r.Sigs)+len(r.TraceSigs) != maxStrange+1 {
			t.Errorf("%s has %d and %d signatures, %v", key, len(r.Sigs), len(r.TraceSigs), err)
		}
	}
}

// A record that grew before there was a bound is not made unreadable.
func TestFullRecordStays(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	key := layout.NarInfoKey(s.path("flat"))
	tr.sendNARs(s)
	full := treetest.Bloat([]byte(s.objects[key]), layout.MaxNarInfo-50)
	tr.mem.Damage(key, func([]byte) []byte { return full })
	_, err = tr.send(key, s.objects[key], true) // which would gain our signature
	if reasonOf(err) != TooLarge {
		t.Errorf("got %v", err)
	}
	if got := contents(t, tr.tree)[key]; got != string(full) {
		t.Errorf("the record has %d bytes now", len(got))
	}
}

// A record that is wrong in the tree gains no signature of ours from a second one
// that is as wrong, though the NAR came by.
func TestMergeVouchesForNothingWrong(t *testing.T) {
	s := newSample(t)
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.Writer.Keys = []signer.SecretKey{ours} })
	tr.sendNARs(s)
	n := s.narInfo(t, "twin")
	n.NarHash, n.Sigs = layout.Hash{1}, nil
	key, text := layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir))
	tr.mem.Damage(key, func([]byte) []byte { return []byte(text) })
	tr.refused(key, text, true, NARDiffers)
	tr.restart() // and nothing is known of the NAR
	tr.must(key, text, true, Unchanged)
	if got := contents(t, tr.tree)[key]; got != text {
		t.Errorf("the record says %s", got)
	}
}

package inbox

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The narinfos that wait have a budget in number and in bytes, for each client and
// in all, whatever is restarted; after a day it is free again.
func TestHeldBudget(t *testing.T) {
	s := newSample(t)
	_, text := s.invented(t, 0, "00000000000000000000000000000000-nowhere")
	size := int64(len(text))
	for name, edit := range map[string]func(*Config){
		"number": func(c *Config) { c.MaxHeld = 15 },
		"bytes":  func(c *Config) { c.MaxHeldBytes = 16 * size },
	} {
		t.Run(name, func(t *testing.T) {
			old := &aged{Tree: treetest.NewMem(t)}
			if _, err := layout.Init(t.Context(), old, layout.DefaultCacheInfo()); err != nil {
				t.Fatal(err)
			}
			tr := trialOn(t, old, edit)
			i := 0
			fill := func(c share.Client) (n int) {
				for ; n < 100; n++ {
					i++
					key, text := s.invented(t, i, "00000000000000000000000000000000-nowhere")
					if _, err := tr.sendAs(c, key, text, false); reasonOf(err) == TooManyHeld {
						return n
					} else if err != nil {
						t.Fatal(err)
					}
				}
				return n
			}
			got := map[share.Client][]int{}
			for range 2 {
				for _, c := range []share.Client{"a", "b", "c"} {
					got[c] = append(got[c], fill(c))
				}
				tr.restart()
				key, text := s.invented(t, 1, "00000000000000000000000000000000-nowhere")
				tr.mustAs("a", key, text, Held) // in the place of what it had there
			}
			// Half, and half of the rest; nothing is free again after a restart.
			want := map[share.Client][]int{"a": {8, 0}, "b": {4, 0}, "c": {2, 0}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			old.by = heldFor + time.Minute
			if err := tr.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tr.Waiting() != 0 || tr.holding != (holding{}) || len(tr.holds) != 0 {
				t.Errorf("after a day %d wait, %+v, %v", tr.Waiting(), tr.holding, tr.holds)
			}
			old.by = 0
			if n := fill("c"); n != 8 {
				t.Errorf("after a day there is room for %d", n)
			}
		})
	}
}

// If two clients have narinfos of one path wait, neither takes the place of the
// other.
func TestHeldApart(t *testing.T) {
	s := newSample(t)
	for _, restart := range []bool{false, true} {
		tr := newTrial(t, nil)
		nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
		wrong := s.narInfo(t, "flat")
		wrong.NarSize, wrong.CA, wrong.Sigs = wrong.NarSize+1, "", nil
		bogus := string(wrong.Marshal(layout.DefaultStoreDir))
		for _, c := range []share.Client{"attacker", "honest", "attacker"} {
			text := s.objects[key]
			if c == "attacker" {
				text = bogus
			}
			tr.mustAs(c, key, text, Held)
		}
		for c, want := range map[share.Client]string{"attacker": bogus, "honest": s.objects[key]} {
			info, err := tr.Stat(share.As(t.Context(), c), key)
			if err != nil || info.Size != int64(len(want)) || info.Key != key {
				t.Errorf("%s is shown %+v, %v", c, info, err)
			}
		}
		if _, err := tr.Stat(share.As(t.Context(), "stranger"), key); err == nil {
			t.Error("a stranger is shown what is held")
		}
		if restart {
			tr.restart()
		}
		tr.mustAs("someone", nar, s.objects[nar], Created)
		for tr.Waiting() > 0 {
			time.Sleep(time.Millisecond)
		}
		if got := contents(t, tr.tree)[key]; got != s.objects[key] {
			t.Errorf("restart %v: the tree has %q", restart, got)
		}
	}
}

// Objects that a client sends ahead of a narinfo matter to that client alone.
func TestNotesApart(t *testing.T) {
	s := newSample(t)
	p := s.path("lib-debug")
	ls, record, nar := layout.ListingKey(p), layout.NarInfoKey(p), s.nar(t, "lib-debug")
	absent := layout.DebugLink{ID: strings.Repeat("0", 40), Member: "lib/debug/.build-id/00/" + strings.Repeat("0", 38) + ".debug"}
	tr := newTrial(t, nil)
	tr.mustAs("attacker", ls, "{}", Held)
	tr.mustAs("attacker", absent.Keys()[0], string(absent.Marshal(nar)), Held)
	if _, err := tr.Stat(share.As(t.Context(), "honest"), ls); err == nil {
		t.Error("another client's listing is shown")
	}
	tr.mustAs("honest", nar, s.objects[nar], Created)
	tr.mustAs("honest", record, s.objects[record], Created)
	if got := contents(t, tr.tree); got[ls] != s.objects[ls] || got[absent.Keys()[0]] != "" {
		t.Errorf("the listing is %q, the link %q", got[ls], got[absent.Keys()[0]])
	}
	tr.mustAs("attacker", ls, s.objects[ls], Unchanged)
}

// Objects that clients send ahead of narinfos have a budget of memory and of
// disk. A client that sends too much loses its own, and no other's; after a day
// all is forgotten.
func TestEarlyBudget(t *testing.T) {
	s := newSample(t)
	spool := &countedSpool{Spool: layout.TempSpool(t.TempDir())}
	tr := newTrial(t, func(c *Config) { c.Writer.Spool, c.Memory = spool, 8<<20 })
	listing := func(i int) layout.Key { return layout.ListingKey(inventedPath(i)) }
	tr.mustAs("honest", listing(0), s.objects[layout.ListingKey(s.path("flat"))], Held)
	tr.mustAs("honest", listing(1), "{"+strings.Repeat(" ", keptInMemory), Held)
	for i := range 30 {
		tr.mustAs("attacker", listing(2+i), "{"+strings.Repeat(" ", 3*keptInMemory), Held)
		tr.mustAs("attacker", listing(100+i), "{"+strings.Repeat(" ", 100<<10), Held)
	}
	if most := int32(4<<20/(3*keptInMemory/spooledShare)) + 1; spool.open.Load() > int64(most) {
		t.Errorf("%d files wait, want %d at most", spool.open.Load(), most)
	}
	for i := range 2 {
		if _, err := tr.Stat(share.As(t.Context(), "honest"), listing(i)); err != nil {
			t.Errorf("the honest client's is forgotten: %v", err)
		}
	}
	if tr.notes.cost > tr.notes.limit {
		t.Errorf("notes cost %d", tr.notes.cost)
	}
	for _, n := range tr.notes.all() {
		n.at = n.at.Add(-heldFor - time.Minute)
	}
	if err := tr.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if spool.open.Load() != 0 || len(tr.notes.items) != 0 {
		t.Errorf("after a day %d files and %d notes wait", spool.open.Load(), len(tr.notes.items))
	}
}

// Narinfos that wait cost a bounded number of requests, fewer the longer they
// wait: a look makes one listing, and asks for one object that each narinfo waits
// for.
func TestHeldCosts(t *testing.T) {
	const records, refs = 20, 50
	s := newSample(t)
	for _, common := range []bool{false, true} {
		tr := newTrial(t, nil)
		now := time.Now()
		tr.Inbox.now = func() time.Time { return now }
		nar := s.nar(t, "flat")
		tr.must(nar, s.objects[nar], true, Created)
		for i := range records {
			var missing []layout.StorePath
			for j := range refs {
				if common {
					missing = append(missing, inventedPath(1000+j))
				} else {
					missing = append(missing, inventedPath(1000+i*refs+j))
				}
			}
			key, text := s.invented(t, i, missing...)
			tr.mem.Counts()
			tr.must(key, text, false, Held)
			if got, most := tr.mem.Counts().Stat, statJobs+maxNeeds+4; got > most {
				t.Errorf("common %v: to hold one costs %d looks, want %d at most", common, got, most)
			}
		}
		asked := records // of each one thing, and what is common once
		if common {
			asked = 1
		}
		look := func() treetest.Counts {
			t.Helper()
			tr.mem.Counts()
			if err := tr.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			return tr.mem.Counts()
		}
		for range 2 {
			if got, want := look(), (treetest.Counts{List: 1, Stat: asked}); got != want {
				t.Errorf("common %v: a look costs %+v, want %+v", common, got, want)
			}
		}
		if got, want := look(), (treetest.Counts{List: 1}); got != want {
			t.Errorf("common %v: a look in the pause costs %+v, want %+v", common, got, want)
		}
		sum := 0
		for range 24 * 60 {
			now = now.Add(time.Minute)
			got := look()
			if got.Get != 0 || got.List != 1 {
				t.Fatalf("common %v: a look costs %+v", common, got)
			}
			sum += got.Stat
		}
		if most := 32 * asked; sum > most || sum < 20*asked {
			t.Errorf("common %v: a day costs %d, want %d at most", common, sum, most)
		}
		// After a restart each is read once more, and not all that is missing asked for.
		tr.restart()
		tr.Inbox.now = func() time.Time { return now }
		if got := tr.mem.Counts(); got.Get > 2*records+1 || got.Stat > records*2*statJobs || got.List != 1 {
			t.Errorf("common %v: a restart costs %+v", common, got)
		}
	}
}

// Narinfos that wait are very many, and each may need very much: what is remembered of one
// is little, and not its text.
func TestHeldMemory(t *testing.T) {
	const records, refs, most = 2000, 100, 2 << 10
	s := newSample(t)
	tr := newTrial(t, nil)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range records {
		var missing []layout.StorePath
		for j := range refs {
			missing = append(missing, inventedPath(1000+i*refs+j))
		}
		key, text := s.invented(t, 1_000_000+i, missing...)
		r, err := tr.Inbox.read(key, []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		needs := []need{{key: r.nar}}
		for _, ref := range r.References {
			needs = append(needs, need{key: layout.NarInfoKey(ref), path: ref})
		}
		tr.file(layout.Info{Key: heldKey(key.PathHash(), "a"), Size: int64(len(text))}, needs)
	}
	if each := (heap() - before) / records; each > most {
		t.Errorf("a narinfo that waits takes %d bytes of memory, want %d at most", each, most)
	}
	runtime.KeepAlive(tr)
}

// After all it waited for has come behind our back, a narinfo is published, however
// much that was.
func TestManyNeeds(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar := s.nar(t, "flat")
	tr.must(nar, s.objects[nar], true, Created)
	var refs []layout.StorePath
	for i := range 5 * maxNeeds {
		refs = append(refs, inventedPath(1000+i))
	}
	key, text := s.invented(t, 1, refs...)
	tr.must(key, text, false, Held)
	slices.Reverse(refs)
	for i, ref := range refs {
		other, text := s.invented(t, 1000+len(refs)-1-i)
		if other != layout.NarInfoKey(ref) {
			t.Fatal(other, ref)
		}
		if i%2 == 0 {
			tr.must(other, text, true, Created)
		} else {
			tr.mem.Damage(other, func([]byte) []byte { return []byte(text) })
		}
	}
	if err := tr.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.mem.Stat(t.Context(), key); err != nil || tr.Waiting() != 0 {
		t.Errorf("%v, %d wait", err, tr.Waiting())
	}
}

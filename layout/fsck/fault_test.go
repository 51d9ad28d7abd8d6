package fsck_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestFaults fails each operation of a check once: what could not be read is an
// error, never a problem (I5), and the rest is checked nevertheless.
func TestFaults(t *testing.T) {
	p := newPatient(t)
	p.set("README", nil)               // one note
	p.set(debugKey, []byte("no link")) // one problem
	p.remove(p.nar("app"))             // one more, which takes a Stat to tell
	wantNotes := []string{"foreign-file README"}
	wantProblems := []string{"missing-nar app", "bad-debuginfo " + string(debugKey)}
	fault := errors.New("the cable was cut")
	for _, deep := range []bool{false, true} {
		count := &treetest.Faulty{Tree: p.Mem}
		if problems, notes, errs := p.check(count, fsck.Options{Deep: deep}); !cmp.Equal(problems, wantProblems) ||
			!cmp.Equal(notes, wantNotes) || len(errs) > 0 {
			t.Fatalf("without faults: %q %q %v", problems, notes, errs)
		}
		for at := 1; at <= count.Ops(); at++ {
			for _, done := range []bool{false, true} {
				tree := &treetest.Faulty{Tree: p.Mem, Fault: treetest.Fault{At: at, Done: done, Err: fault}}
				problems, notes, errs := p.check(tree, fsck.Options{Deep: deep, Jobs: 1})
				name := fmt.Sprintf("deep %t, operation %d, done %t", deep, at, done)
				if len(errs) == 0 {
					t.Errorf("%s: no error", name)
				}
				for _, err := range errs {
					if !errors.Is(err, fault) {
						t.Errorf("%s: %v", name, err)
					}
				}
				for _, got := range problems {
					if got != wantProblems[0] && got != wantProblems[1] {
						t.Errorf("%s: %s", name, got)
					}
				}
				for _, got := range notes {
					// A narinfo that could not be read may well be what led to a NAR.
					if got != wantNotes[0] && !isLeftover(got) {
						t.Errorf("%s: %s", name, got)
					}
				}
			}
		}
	}
}

func isLeftover(text string) bool {
	return len(text) > 12 && text[:12] == "unreferenced"
}

// TestDownTree: a tree that is not there at all is not an empty one.
func TestDownTree(t *testing.T) {
	p := newPatient(t)
	tree := &treetest.Faulty{Tree: p.Mem, Fault: treetest.Fault{At: 1, Down: true}}
	problems, notes, errs := p.check(tree, fsck.Options{Deep: true})
	if len(problems) > 0 || len(notes) > 0 || len(errs) == 0 {
		t.Errorf("problems %q, notes %q, errors %v", problems, notes, errs)
	}
}

// A moving tree changes while it is checked: after the listing, and at the
// first NAR that is read.
type moving struct {
	*treetest.Mem
	hide    layout.Kind // not listed: published since
	listed  func()
	reading func()
}

func (m *moving) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		for info, err := range m.Mem.List(ctx, prefix) {
			if err == nil && info.Key.Kind() == m.hide {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
		once(&m.listed)
	}
}

func (m *moving) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if key.Kind() == layout.KindNAR {
		once(&m.reading)
	}
	return m.Mem.Get(ctx, key)
}

func once(f *func()) {
	if *f != nil {
		(*f)()
		*f = nil
	}
}

// TestTreeInUse: objects that come and go in the right order are not problems.
func TestTreeInUse(t *testing.T) {
	withdraw := func(p *patient, names ...string) func() {
		return func() {
			for _, name := range names {
				keys := []layout.Key{p.narInfo(name), p.listing(name)}
				if name != "twin" && name != "source" {
					keys = append(keys, p.nar(name))
				}
				for _, key := range keys {
					if err := p.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	for _, c := range []struct {
		name  string
		setup func(p *patient, m *moving)
		notes int
	}{
		{name: "withdrawn after the listing", setup: func(p *patient, m *moving) { m.listed = withdraw(p, "app", "env", "lib") }, notes: 3},
		{name: "withdrawn before the NARs", setup: func(p *patient, m *moving) { m.reading = withdraw(p, "app", "selfish", "twin") }},
		{name: "NARs published since", setup: func(p *patient, m *moving) { m.hide = layout.KindNAR }},
		{name: "listings published since", setup: func(p *patient, m *moving) { m.hide = layout.KindListing }},
		{name: "narinfos published since", setup: func(p *patient, m *moving) { m.hide = layout.KindNarInfo }, notes: 8 + 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			m := &moving{Mem: p.Mem, hide: layout.KindCacheInfo}
			c.setup(p, m)
			problems, notes, errs := p.check(m, fsck.Options{Deep: true, Jobs: 1})
			if len(problems) > 0 || len(errs) > 0 || len(notes) != c.notes {
				t.Errorf("problems %q, errors %v, notes %q", problems, errs, notes)
			}
		})
	}
}

func TestStop(t *testing.T) {
	p := newPatient(t)
	for _, key := range p.Keys() {
		if key.Kind() == layout.KindListing {
			p.set(key, []byte("broken"))
		}
	}
	for n := 1; n <= 9; n++ {
		seen := 0
		for range fsck.Check(t.Context(), p.Mem, fsck.Options{}) {
			if seen++; seen == n {
				break
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs []error
	seen := 0
	for _, err := range fsck.Check(ctx, p.Mem, fsck.Options{Deep: true}) {
		if seen++; seen == 3 {
			cancel()
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("a cancelled check ends with %v, want one context.Canceled", errs)
	}
}

// TestMisorderedListing: an index of keys out of order would call things
// missing that are there.
func TestMisorderedListing(t *testing.T) {
	p := newPatient(t)
	if problems, _, errs := p.check(reversed{p.Mem}, fsck.Options{}); len(problems) > 0 || len(errs) != 1 {
		t.Errorf("problems %q, errors %v", problems, errs)
	}
}

type reversed struct{ *treetest.Mem }

func (r reversed) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		var all []layout.Info
		for info := range r.Mem.List(ctx, prefix) {
			all = append(all, info)
		}
		for i := range all {
			if !yield(all[len(all)-1-i], nil) {
				return
			}
		}
	}
}

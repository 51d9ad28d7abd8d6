package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// A scenario is a source and a destination that a run is to make equal.
type scenario struct {
	src, dst *treetest.Mem
	inDir    bool // what dst has is in a directory
}

func (s scenario) clone(t *testing.T) scenario {
	return scenario{s.src.Clone(t), s.dst.Clone(t), s.inDir}
}

// open returns the destination of a scenario that was cloned.
func (s scenario) open(t *testing.T) layout.Tree {
	if !s.inDir {
		return s.dst
	}
	name := t.TempDir()
	for key, text := range treetest.Contents(t, s.dst) {
		file := filepath.Join(name, string(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return treetest.OpenDir(t, name)
}

// scenarios are a new destination, and one with too little, too much, and
// something else.
func scenarios(t *testing.T) map[string]scenario {
	full := treetest.Source(t)
	fresh := scenario{src: full, dst: treetest.NewMem(t)}
	changed := scenario{src: full.Clone(t), dst: full.Clone(t)}
	treetest.Withdraw(t, changed.dst, "app")
	treetest.Withdraw(t, changed.dst, "env")
	treetest.Withdraw(t, changed.dst, "lib")
	treetest.Withdraw(t, changed.src, "lib-debug")
	treetest.Withdraw(t, changed.src, "app")
	treetest.Withdraw(t, changed.src, "flat")
	treetest.Withdraw(t, changed.src, "selfish")
	for _, key := range changed.src.Keys() {
		if key.Kind() == layout.KindDebugInfo || key.Kind() == layout.KindLog {
			changed.src.Delete(t.Context(), key)
		}
	}
	treetest.PutText(t, changed.src, "index.html", "<!DOCTYPE html>")
	all := map[string]scenario{"new": fresh, "changed": changed}
	// A destination that takes batches is sent many objects at once, and one that
	// lists its top is listed in parts.
	// A body that is too large for memory goes through the spool.
	for name, s := range maps.Clone(all) {
		s = s.clone(t)
		treetest.PutText(t, s.src, "robots.txt", strings.Repeat("# large\n", 200_000))
		s.src.Like = layout.Traits{Folders: true}
		s.dst.Like = layout.Traits{Folders: true, Batches: true}
		all[name+" in batches"] = s
		s.inDir = true
		all[name+" in a directory"] = s
	}
	return all
}

// TestMirrorFaults fails each operation of a run in each way, on each side. The
// destination polices each step; a run after that completes the work.
func TestMirrorFaults(t *testing.T) {
	for name, scenario := range scenarios(t) {
		t.Run(name, func(t *testing.T) {
			faults(t, scenario, treetest.Fault{}, treetest.Fault{Done: true}, treetest.Fault{Down: true},
				treetest.Fault{Done: true, Down: true}, treetest.Fault{Err: syscall.ENOSPC})
		})
	}
}

func faults(t *testing.T, s scenario, all ...treetest.Fault) {
	for _, side := range []string{"source", "destination"} {
		for _, fault := range all {
			t.Run(fmt.Sprintf("%s/done=%v,down=%v,%v", side, fault.Done, fault.Down, fault.Err), func(t *testing.T) {
				step := quick.Step(197)
				if s.inDir {
					step = 7 * quick.Step(89) // it is slower
				}
				for n := 1; ; n += step {
					fault.At = n
					more := false
					synctest.Test(t, func(t *testing.T) { more = runWithFault(t, s.clone(t), side, fault) })
					if t.Failed() {
						t.Fatalf("at operation %d", n)
					}
					if !more {
						break
					}
				}
			})
		}
	}
}

func runWithFault(t *testing.T, s scenario, side string, fault treetest.Fault) (more bool) {
	dst := s.open(t)
	faulty := &treetest.Faulty{Tree: dst, Fault: fault}
	m := &mirror.Mirror{Source: s.src, Dest: faulty, Delete: true, Jobs: 1}
	if side == "source" {
		faulty.Tree = s.src
		m.Source, m.Dest = faulty, dst
	}
	err := m.Run(t.Context())
	if err == nil {
		treetest.Equal(t, s.src, dst)
	}
	if fault.Err != nil && err != nil && side == "destination" && !errors.Is(err, fault.Err) {
		t.Errorf("%v is lost: %v", fault.Err, err)
	}
	if err := fsck.Whole(t.Context(), dst, fsck.Options{Provided: treetest.Provided(t, dst)}); err != nil && !strings.Contains(err.Error(), "no-cache-info") {
		t.Errorf("after the fault: %v", err)
	}
	more = faulty.Ops() >= fault.At
	m.Source, m.Dest = s.src, dst
	if err := m.Run(t.Context()); err != nil {
		t.Errorf("the run after the fault: %v", err)
	}
	treetest.Equal(t, s.src, dst)
	return more
}

// TestMirrorTogether has runs with different sources to one destination.
func TestMirrorTogether(t *testing.T) {
	all := scenarios(t)["changed"]
	synctest.Test(t, func(t *testing.T) {
		dst := treetest.NewMem(t)
		var runs sync.WaitGroup
		for i := range 8 {
			src := all.src
			if i%2 == 0 {
				src = all.dst
			}
			runs.Go(func() {
				// A step takes a while, so that they would meet.
				m := &mirror.Mirror{Source: src.Clone(t), Dest: slow{dst, time.Second}, Delete: true, Jobs: 4}
				if err := m.Run(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		runs.Wait()
		whole(t, dst)
	})
}

// slow is a tree where writing takes time.
type slow struct {
	layout.Tree
	by time.Duration
}

func (s slow) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	time.Sleep(s.by)
	return s.Tree.Put(ctx, key, body, opts)
}

func (s slow) Delete(ctx context.Context, key layout.Key) error {
	time.Sleep(s.by)
	return s.Tree.Delete(ctx, key)
}

// TestMirrorMoving has a source that gains and loses paths all the while.
func TestMirrorMoving(t *testing.T) {
	src := treetest.Source(t)
	before := src.Clone(t)
	dst := treetest.NewMem(t)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			for _, name := range []string{"app", "env", "lib"} {
				treetest.Withdraw(t, src, name)
			}
			// Publication, in order.
			copyOver(t, before, src, layout.KindNAR, layout.KindListing)
			for _, name := range []string{"lib", "env", "app"} {
				copyKey(t, before, src, layout.NarInfoKey(treetest.Record(t, before, name).Path))
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	m := &mirror.Mirror{Source: src, Dest: dst, Delete: true}
	for range 60 / quick.Step(3) {
		err := m.Run(t.Context())
		if incomplete := (*mirror.IncompleteError)(nil); err != nil && !errors.As(err, &incomplete) {
			t.Error(err)
		}
		if err := fsck.Whole(t.Context(), dst, fsck.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writer.Wait()
	mustRun(t, m)
	treetest.Equal(t, src, dst)
}

func copyOver(t *testing.T, from, to layout.Tree, kinds ...layout.Kind) {
	for info := range from.List(context.Background(), "") {
		for _, kind := range kinds {
			if info.Key.Kind() == kind {
				copyKey(t, from, to, info.Key)
			}
		}
	}
}

func copyKey(t *testing.T, from, to layout.Tree, key layout.Key) {
	body, _, err := from.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Put(context.Background(), key, layout.Bytes(text), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestMirrorNoConditions: a store without conditions is written to without a
// lock, and says so.
func TestMirrorNoConditions(t *testing.T) {
	dst := treetest.NewMem(t)
	var notes []string
	m := &mirror.Mirror{Source: treetest.Source(t), Dest: plain{dst}, Report: func(e mirror.Event) {
		if e.Action == mirror.ActionNote {
			notes = append(notes, e.Why)
		}
	}}
	mustRun(t, m)
	if len(notes) != 1 || !strings.Contains(notes[0], "no conditional") {
		t.Errorf("notes: %q", notes)
	}
}

type plain struct{ layout.Tree }

func (p plain) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if opts != (layout.PutOptions{}) && key.Kind() == layout.KindPrivate {
		return fmt.Errorf("put %s: %w", key, errors.ErrUnsupported)
	}
	return p.Tree.Put(ctx, key, body, opts)
}

// TestMirrorAfterKill has a destination where a run was killed that had not
// flushed what it put: the next run must not have narinfos rest on that.
func TestMirrorAfterKill(t *testing.T) {
	for name, s := range scenarios(t) {
		if s.inDir {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := s.clone(t)
			for _, kept := range []func(layout.Key) bool{
				func(key layout.Key) bool { return key.Kind() == layout.KindNAR },
				func(key layout.Key) bool { return key.Kind() != layout.KindNarInfo },
			} {
				dst := s.src.Clone(t)
				for _, key := range dst.Keys() {
					if !kept(key) {
						dst.Damage(key, func([]byte) []byte { return nil })
					}
				}
				dst.Unflush()
				again := dst.Clone(t)
				mustRun(t, &mirror.Mirror{Source: s.src, Dest: dst, Delete: true})
				treetest.Equal(t, s.src, dst)
				// A run of named keys does not list.
				keys := slices.DeleteFunc(s.src.Keys(), func(key layout.Key) bool { return key.Kind() == layout.KindNAR })
				if err := (&mirror.Mirror{Source: s.src, Dest: again}).RunKeys(t.Context(), keys); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

package mirror_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

const lease layout.Key = ".nixstatic/sync-lease"

// TestMirrorLease: the lock of a run that died is free after a minute, whatever
// the clocks say.
func TestMirrorLease(t *testing.T) {
	src := treetest.Source(t)
	synctest.Test(t, func(t *testing.T) {
		dst := treetest.NewMem(t)
		treetest.PutText(t, dst, lease, "somebody\nwho died\n")
		start := time.Now()
		m := &mirror.Mirror{Source: src.Clone(t), Dest: dst, Progress: &mirror.Progress{}}
		mustRun(t, m)
		if took := time.Since(start); took < 60*time.Second || took > 70*time.Second {
			t.Errorf("waited %v", took)
		}
		if m.Progress.Waiting.Load() != nil {
			t.Error("still waiting")
		}
		// While it is renewed it is not free.
		treetest.PutText(t, src, "index.html", "changed")
		m.Source = src.Clone(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		renew := func() { treetest.PutText(t, dst, lease, "somebody\nwho lives\n"+time.Now().String()) }
		renew()
		var other sync.WaitGroup
		other.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(20 * time.Second)
				renew()
			}
		})
		if err := m.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beside one that lives: %v", err)
		}
		other.Wait()
	})
}

// TestMirrorLeaseLost: a run that cannot renew its lock stops before others
// may take it.
func TestMirrorLeaseLost(t *testing.T) {
	src := treetest.Source(t)
	synctest.Test(t, func(t *testing.T) {
		dst := treetest.NewMem(t)
		start := time.Now()
		puts := 0
		faulty := &treetest.Faulty{Tree: slow{dst, 5 * time.Second}, Fault: treetest.Fault{At: 4, Down: true, Only: func(op treetest.Op, key layout.Key) bool {
			if op == treetest.OpPut && key != lease {
				puts++
			}
			return key == lease && op == treetest.OpPut
		}}}
		err := (&mirror.Mirror{Source: src.Clone(t), Dest: faulty, Jobs: 1}).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "run the command again") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(start); took > 60*time.Second {
			t.Errorf("went on for %v", took)
		}
		if puts == 0 {
			t.Error("nothing was put: the test shows nothing")
		}
		synctest.Wait()
	})
}

// A peculiar tree is in a store with a rule of its own for conditions.
type peculiar struct {
	*treetest.Mem
	rule   func(layout.PutOptions) error
	honest bool // keeps to what the rule lets pass
	alone  atomic.Bool
}

func (p *peculiar) AssumeOneWriter() { p.alone.Store(true) }

func (p *peculiar) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if opts == (layout.PutOptions{}) || p.alone.Load() {
		return p.Mem.Put(ctx, key, body, opts)
	}
	if err := p.rule(opts); err != nil {
		return err
	}
	if p.honest {
		return p.Mem.Put(ctx, key, body, opts)
	}
	return p.Mem.Put(ctx, key, body, layout.PutOptions{})
}

// TestStoresWithoutConditions: a mirror into a store that keeps to no conditions
// says so once, and does its work.
func TestStoresWithoutConditions(t *testing.T) {
	src := treetest.Source(t)
	for name, rule := range map[string]func(layout.PutOptions) error{
		"refuses them": func(layout.PutOptions) error { return errors.ErrUnsupported },
		"ignores them": func(layout.PutOptions) error { return nil },
		"denies each":  func(o layout.PutOptions) error { return denial(o) },
		"denies that a version is there": func(o layout.PutOptions) error {
			if o.IfMatch != "" {
				return denial(o)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dst := &peculiar{Mem: treetest.NewMem(t), rule: rule}
				var notes []string
				m := &mirror.Mirror{Source: src.Clone(t), Dest: dst, Report: func(e mirror.Event) {
					if e.Action == mirror.ActionNote {
						notes = append(notes, e.Why)
					}
				}}
				mustRun(t, m)
				if len(notes) != 1 || !strings.Contains(notes[0], "no conditional writes") {
					t.Errorf("notes: %q", notes)
				}
				if !dst.alone.Load() {
					t.Error("nobody told the tree")
				}
				treetest.Equal(t, src, dst.Mem)
			})
		})
	}
}

// TestStoreWithoutReplacing: where the lease can be put and not renewed, the work
// goes on.
func TestStoreWithoutReplacing(t *testing.T) {
	src := treetest.Source(t)
	synctest.Test(t, func(t *testing.T) {
		mem := treetest.NewMem(t)
		dst := &peculiar{Mem: mem, honest: true, rule: func(o layout.PutOptions) error {
			if o.IfMatch != "" {
				return layout.ErrChanged
			}
			return nil
		}}
		m := &mirror.Mirror{Source: src.Clone(t), Dest: slow{dst, 5 * time.Second}, Jobs: 1}
		mustRun(t, m)
		treetest.Equal(t, src, mem)
	})
}

func denial(o layout.PutOptions) error {
	if o.IfAbsent {
		return fs.ErrExist
	}
	return layout.ErrChanged
}

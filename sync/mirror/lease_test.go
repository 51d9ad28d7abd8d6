package mirror_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// TestMirrorPulse: a run that died on this machine is not waited for, if that is
// certain.
func TestMirrorPulse(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	src := treetest.Source(t)
	for _, c := range []struct {
		name, boot      string
		there, locked   bool
		holder          string
		atLeast, atMost time.Duration
	}{
		{name: "dead", boot: string(boot), there: true, atLeast: 5 * time.Second, atMost: 10 * time.Second},
		{name: "alive", boot: string(boot), there: true, locked: true, atLeast: time.Minute, atMost: 70 * time.Second},
		{name: "in another container", boot: string(boot), atLeast: time.Minute, atMost: 70 * time.Second},
		{name: "on another machine", boot: "0123", there: true, atLeast: time.Minute, atMost: 70 * time.Second},
		{name: "of an earlier version", there: true, atLeast: time.Minute, atMost: 70 * time.Second},
		{name: "a name that leads elsewhere", boot: string(boot), holder: "../secret", there: true, atLeast: time.Minute, atMost: 70 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sync")
			holder := c.holder
			if holder == "" {
				holder = rand.Text()
			}
			if c.there {
				file := filepath.Join(dir, "lease-"+holder)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				f, err := os.Create(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if c.locked {
					if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
						t.Fatal(err)
					}
				}
			}
			synctest.Test(t, func(t *testing.T) {
				dst := treetest.NewMem(t)
				treetest.PutText(t, dst, lease, holder+"\nprocess 1 on somewhere\nrenewed 3 times\nboot "+c.boot+"\n")
				var notes []string
				m := &mirror.Mirror{Source: src.Clone(t), Dest: dst, State: filepath.Join(dir, "state"), Report: func(e mirror.Event) {
					if e.Action == mirror.ActionNote {
						notes = append(notes, e.Err.Error())
					}
				}}
				start := time.Now()
				mustRun(t, m)
				if took := time.Since(start); took < c.atLeast || took > c.atMost {
					t.Errorf("waited %v", took)
				}
				if len(notes) != 1 || !strings.HasPrefix(notes[0], "waiting for process 1 on somewhere, ") {
					t.Errorf("notes: %q", notes)
				}
			})
			if left, _ := filepath.Glob(filepath.Join(dir, "lease-*")); len(left) > 1 || len(left) == 1 && !c.there {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestMirrorPulseLeft: a run that cannot give its lease back is not waited for
// either.
func TestMirrorPulseLeft(t *testing.T) {
	src := treetest.Source(t)
	state := filepath.Join(t.TempDir(), "sync", "state")
	synctest.Test(t, func(t *testing.T) {
		dst := treetest.NewMem(t)
		// It comes as far as the first object, and no further.
		var begun atomic.Bool
		faulty := &treetest.Faulty{Tree: dst, Fault: treetest.Fault{At: 1, Down: true, Only: func(op treetest.Op, key layout.Key) bool {
			if op == treetest.OpPut && key.Kind() == layout.KindNAR {
				begun.Store(true)
			}
			return begun.Load()
		}}}
		if err := (&mirror.Mirror{Source: src.Clone(t), Dest: faulty, State: state}).Run(t.Context()); err == nil {
			t.Fatal("nothing failed")
		}
		if _, err := dst.Stat(t.Context(), lease); err != nil {
			t.Fatalf("the lease was given back: the test shows nothing: %v", err)
		}
		start := time.Now()
		mustRun(t, &mirror.Mirror{Source: src.Clone(t), Dest: dst, State: state})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("waited %v", took)
		}
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
						notes = append(notes, e.Err.Error())
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

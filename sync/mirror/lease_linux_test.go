package mirror_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// TestMirrorPulse: a run that died on this machine is not waited for, if that is
// certain. Only Linux tells a program which run of the kernel it is in.
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
						notes = append(notes, e.Why)
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

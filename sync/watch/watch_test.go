package watch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/watch"
)

// gated is a tree that can be away.
type gated struct {
	layout.Tree
	away atomic.Bool
}

func (g *gated) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if g.away.Load() {
		return &os.PathError{Op: "put", Path: string(key), Err: syscall.EHOSTUNREACH}
	}
	return g.Tree.Put(ctx, key, body, opts)
}

// watched is a Watch of a directory that runs, and what it says.
type watched struct {
	src      *layout.Dir
	from     *treetest.Mem // where paths come from
	dst      *treetest.Mem
	gate     *gated
	outcomes chan watch.Outcome
	stop     func() error
}

func startWatch(t *testing.T, rescan time.Duration) *watched {
	t.Helper()
	w := &watched{src: treetest.OpenDir(t, t.TempDir()+"/source"), from: treetest.Source(t), dst: treetest.NewMem(t), outcomes: make(chan watch.Outcome, 1000)}
	w.gate = &gated{Tree: w.dst}
	treetest.Withdraw(t, w.from, "twin")
	before := w.from.Clone(t)
	treetest.Withdraw(t, before, "app")
	mustMirror(t, &mirror.Mirror{Source: before, Dest: w.src})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- (&watch.Watch{
			Mirror: &mirror.Mirror{Source: w.src, Dest: w.gate, Delete: true},
			Settle: 50 * time.Millisecond, Rescan: rescan, Report: func(o watch.Outcome) { w.outcomes <- o },
		}).Run(ctx)
	}()
	w.stop = func() error { cancel(); return <-ended }
	return w
}

// until waits for the destination to be as wanted.
func (w *watched) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("not in a minute: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *watched) equal(t *testing.T) func() bool {
	return func() bool { return cmp.Equal(treetest.Contents(t, w.src), treetest.Contents(t, w.dst)) }
}

func TestWatch(t *testing.T) {
	w := startWatch(t, time.Hour)
	w.until(t, "the first run", w.equal(t))
	if o := <-w.outcomes; o.Keys != -1 || o.Err != nil {
		t.Errorf("the first run: %+v", o)
	}
	// A new path needs no comparison of everything.
	mustMirror(t, &mirror.Mirror{Source: w.from, Dest: w.src})
	w.until(t, "a new path", w.equal(t))
	for o := range pending(w.outcomes) {
		if o.Keys <= 0 || o.Err != nil {
			t.Errorf("a new path: %+v", o)
		}
	}
	// A removal.
	treetest.Withdraw(t, w.src, "env")
	w.until(t, "a removal", w.equal(t))

	// Half a file is left alone; so is what it is not to be.
	path := w.src.Path()
	page := filepath.Join(path, "robots.txt")
	f, err := os.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if _, err := f.WriteString("User-agent: *\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		if _, err := w.dst.Stat(t.Context(), "robots.txt"); err == nil {
			break // it took the writer more than 50 ms to go on: a busy machine
		}
	}
	f.Close()
	for _, name := range []string{"x.narinfo.tmp.123.4", ".hidden", "nar/half.tmp"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.until(t, "a slow writer", w.equalPublic(t))

	// The destination is away for a while.
	w.gate.away.Store(true)
	treetest.PutText(t, w.src, "index.html", "while you were out")
	w.until(t, "a failure", func() bool {
		for o := range pending(w.outcomes) {
			if errors.Is(o.Err, syscall.EHOSTUNREACH) && o.Retry > 0 {
				return true
			}
		}
		return false
	})
	w.gate.away.Store(false)
	w.until(t, "coming back", w.equalPublic(t))

	// The end mirrors what came a moment before.
	treetest.PutText(t, w.src, "index.html", "last words")
	if err := w.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !w.equalPublic(t)() {
		t.Error("the last change was not mirrored")
	}
	intact(t, w.dst)
}

// equalPublic leaves out what is nothing of a cache's.
func (w *watched) equalPublic(t *testing.T) func() bool {
	return func() bool {
		have := treetest.Contents(t, w.src)
		for key := range have {
			if !key.Kind().Public() {
				delete(have, key)
			}
		}
		return cmp.Equal(have, treetest.Contents(t, w.dst))
	}
}

// TestWatchRescan: what is not told is found.
func TestWatchRescan(t *testing.T) {
	w := startWatch(t, 100*time.Millisecond)
	w.until(t, "the first run", w.equal(t))
	// A folder that is not watched.
	drv := layout.StorePath("00000000000000000000000000000000-deep.drv")
	for n := range treetest.Records(t, w.src) {
		r := layout.Realisation{OutPath: n.Path, Output: "out", DrvPath: drv}
		objects, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := layout.PutBatch(t.Context(), w.src, objects); err != nil {
			t.Fatal(err)
		}
		break
	}
	w.until(t, "a realisation", w.equal(t))
	// The whole source goes and comes back.
	if err := os.Rename(w.src.Path()+"/nix-cache-info", w.src.Path()+"/.aside"); err != nil {
		t.Fatal(err)
	}
	w.until(t, "a source that is none", func() bool {
		for o := range pending(w.outcomes) {
			if o.Err != nil {
				return true
			}
		}
		return false
	})
	if _, err := w.dst.Stat(t.Context(), layout.CacheInfoKey); err != nil {
		t.Error(err)
	}
	if err := os.Rename(w.src.Path()+"/.aside", w.src.Path()+"/nix-cache-info"); err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, w.src, "index.html", "back")
	w.until(t, "coming back", w.equalPublic(t))
	if err := w.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// pending yields what waits in a channel.
func pending[T any](c chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for {
			select {
			case v := <-c:
				if !yield(v) {
					return
				}
			default:
				return
			}
		}
	}
}

func intact(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(context.Background(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

func mustMirror(t *testing.T, m *mirror.Mirror) {
	t.Helper()
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

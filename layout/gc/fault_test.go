package gc_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// TestFaults has each operation of a run fail in turn, not done and done with its
// answer lost, for once and for good. The tree is whole after each, what is pinned is
// there, and the next run ends what was begun.
func TestFaults(t *testing.T) {
	first, c := populated(t)
	pin(t, first, "a", c.Named("app").Info.Path)
	for i, f := range []treetest.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC, Done: true}, {Err: syscall.EIO, Down: true}} {
		t.Run(fmt.Sprintf("%v, done %v, down %v", f.Err, f.Done, f.Down), func(t *testing.T) {
			t.Parallel()
			o := days(40)
			o.Undo = time.Duration(i%2) * aWeek
			for ended := false; !ended && !t.Failed(); {
				f.At += quick.Step(17)
				ended = faulted(t, first, f, o)
			}
		})
	}
}

// faulted has a run on a copy of a tree meet a fault. It reports whether the run ended
// before it.
func faulted(t *testing.T, first *layout.Dir, f treetest.Fault, o gc.Options) bool {
	name := t.TempDir()
	if err := os.CopyFS(name, os.DirFS(first.Path())); err != nil {
		t.Fatal(err)
	}
	tree := treetest.OpenDir(t, name)
	faulty := &treetest.Faulty{Tree: tree, Fault: f}
	_, err := gc.Collect(t.Context(), faulty, o, nil)
	whole(t, tree)
	later := o
	for _, n := range []int{60, 80} {
		later.Now = days(n).Now
		if _, err := gc.Collect(t.Context(), tree, later, nil); err != nil {
			t.Errorf("the next run: %v", err)
		}
	}
	whole(t, tree)
	want(t, names(t, tree), []string{"app", "flat", "lib", "source"})
	want(t, len(keys(t, tree, layout.KindNAR)), 4)
	if t.Failed() {
		t.Errorf("after operation %d: %v", f.At, err)
	}
	return faulty.Ops() < f.At
}

// TestGoldenCounts shows what runs cost in a directory, by operation and what it is
// about: a run with nothing to do lists, and reads nothing of what it remembers but a
// hundredth.
func TestGoldenCounts(t *testing.T) {
	dir, c := populated(t)
	pin(t, dir, "a", c.Named("app").Info.Path)
	counts := map[string]int{}
	tree := &treetest.Faulty{Tree: dir, Fault: treetest.Fault{Only: func(op treetest.Op, key layout.Key) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(string(key), layout.PrivatePrefix), "/")
		if kind := key.Kind(); kind != layout.KindPrivate && kind != layout.KindForeign {
			name = kind.String()
		} else if strings.HasPrefix(string(key), layout.PrivatePrefix+"gc/") {
			name = strings.Split(string(key), "/")[2]
		}
		counts[strings.TrimSpace(string(op)+" "+name)]++
		return false
	}}}
	o := days(0)
	o.Memory = filepath.Join(t.TempDir(), "memory")
	run := func(what string, want map[string]int) {
		t.Helper()
		clear(counts)
		if _, err := gc.Collect(t.Context(), tree, o, nil); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(counts, want) {
			t.Errorf("%s costs %v, want %v", what, counts, want)
		}
	}
	nothing := map[string]int{"get nix-cache-info": 1, "get plan": 2, "get pins": 1, "get condemned": 1,
		"list": 10} // all, and nine kinds of private keys that there may be
	first := maps.Clone(nothing)
	maps.Copy(first, map[string]int{"get narinfo": 9, "get debuginfo": 4, "put plan": 1})
	run("the first run", first)
	run("a run with nothing to do", nothing)
}

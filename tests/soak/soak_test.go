//go:build real

// Package soak_test lets everything that writes to a tree be at work at once, with gc
// that has seconds in the place of days, while a reader looks for what no reader may ever
// find: a narinfo without its NAR or references, and a path that was taken and is gone.
package soak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

const (
	pushers   = 8
	keepYoung = 10 * time.Second
	slack     = 2 * time.Second // file times and process starts
)

// lasts is how long a soak takes: make soak says longer.
func lasts(t testing.TB) time.Duration {
	text := os.Getenv("SOAK")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A soak is a tree in a directory, its mirror, and what has been taken.
type soak struct {
	nixtest.Program
	tree, mirror, url string

	mu    sync.Mutex
	taken map[layout.StorePath]time.Time // until when it has to stay

	pushed, exported, looks atomic.Int64
}

// TestSoak is the whole of it.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	s := &soak{Program: nixtest.Program{Nix: peers.Newest(t)}, tree: filepath.Join(dir, "cache"), mirror: filepath.Join(dir, "mirror"),
		taken: map[layout.StorePath]time.Time{}}
	key := s.NewKey(t, "soak-1")
	s.Output(t, "init", s.tree)
	first := s.make(t, peers.Newest(t), peers.StoreRoot(t), "first", 0)
	s.Output(t, "export", "--store", first.store, "--to", s.tree, "-k", key.File, first.path)
	s.Output(t, "pin", s.tree, "stays", first.path)
	s.serve(t, key)
	watching := nixtest.Start(t, s.Command(t, "sync", "--watch", "--delete", "-q", s.tree, s.mirror))

	ctx, cancel := context.WithTimeout(t.Context(), lasts(t))
	defer cancel()
	var all sync.WaitGroup
	nixes := peers.Nixes(t)
	for i := range pushers {
		all.Go(func() { s.push(t, ctx, nixes[i%len(nixes)], i) })
	}
	all.Go(func() { s.export(t, ctx, key) })
	all.Go(func() { s.prune(t, ctx) })
	for _, tree := range []string{s.tree, s.mirror} {
		all.Go(func() { s.read(t, ctx, tree) })
	}
	all.Wait()
	watching.Signal(t, syscall.SIGTERM)
	watching.Wait(t)
	s.Output(t, "sync", "--delete", "-q", s.tree, s.mirror)
	for _, tree := range []string{s.tree, s.mirror} {
		s.Run(t, "verify", "--deep", "-q", tree).Want(t, 0)
		if _, err := os.Stat(filepath.Join(tree, narinfoOf(first.path))); err != nil {
			t.Errorf("what is pinned: %v", err)
		}
	}
	withdrawn, removed := s.pruned(t)
	t.Logf("%d pushes, %d exports, %d looks at a tree; %d paths withdrawn, %d objects removed", s.pushed.Load(), s.exported.Load(), s.looks.Load(), withdrawn, removed)
	if s.pushed.Load() == 0 || s.exported.Load() == 0 || withdrawn == 0 || removed == 0 {
		t.Error("not all of them were at work")
	}
}

// pruned sums up the runs of gc.
func (s *soak) pruned(t *testing.T) (withdrawn, removed int) {
	var runs struct {
		Runs []struct{ Withdrawn, Reclaimed struct{ Count int } }
	}
	if err := json.Unmarshal([]byte(s.Output(t, "gc", "runs", s.tree, "--json")), &runs); err != nil {
		t.Fatal(err)
	}
	for _, r := range runs.Runs {
		withdrawn, removed = withdrawn+r.Withdrawn.Count, removed+r.Reclaimed.Count
	}
	return withdrawn, removed
}

func (s *soak) serve(t *testing.T, key nixtest.Key) {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := s.Output(t, "token", "create", "--file", tokens, "--name", "builder", "--scope", "upload")
	nixtest.Init(t, s.tree)
	cmd := s.Command(t, "serve", s.tree, "--listen", "127.0.0.1:0", "-k", key.File, "--tokens", tokens)
	s.url = strings.Replace(nixtest.Serve(t, cmd), "://", "://builder:"+token+"@", 1)
}

// A made is a path in a store.
type made struct{ store, path string }

// make makes a path that refers to one of some that all clients share, which refers
// to one that all of them share. So what one pushes is garbage and needed by turns.
func (s *soak) make(t *testing.T, nix peers.Nix, store, name string, n int) made {
	t.Helper()
	expr := fmt.Sprintf(`let base = builtins.toFile "base" "base"; lib = builtins.toFile "lib" "${base} %d";
		in derivation { name = "%s-%d"; system = "none"; builder = "/none"; inherit lib; }`, n%5, name, n)
	path, err := run(nix.Command(t, "nix-instantiate", "--store", store, "-E", expr))
	if err != nil {
		t.Errorf("Nix %s: make a path: %v", nix.Version, err)
	}
	return made{store, path}
}

func run(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

func narinfoOf(path string) string { return filepath.Base(path)[:32] + ".narinfo" }

// took notes that a path was acknowledged. A path that was there is renewed only when
// half of its time is over, so half is what it has at least.
func (s *soak) took(path string, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[layout.StorePath(filepath.Base(path))] = begun.Add(keepYoung/2 - slack)
}

// push is a client that copies new paths and ones that it has pushed before.
func (s *soak) push(t *testing.T, ctx context.Context, nix peers.Nix, who int) {
	store := peers.StoreRoot(t)
	for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
		m := s.make(t, nix, store, fmt.Sprintf("pushed-%d", who), n/2)
		nix.Home = t.TempDir() // remembers nothing
		begun := time.Now()
		_, err := run(nix.Command(t, "nix", "copy", "--no-check-sigs", "--store", store, "--to", s.url+"/upload?compression=none&write-nar-listing=true", "--derivation", m.path))
		if err != nil && time.Since(begun) < keepYoung/2 {
			t.Errorf("Nix %s, push %d: %v", nix.Version, n, err)
		}
		if err == nil {
			s.took(m.path, begun)
			s.pushed.Add(1)
		}
	}
}

func (s *soak) export(t *testing.T, ctx context.Context, key nixtest.Key) {
	nix, store := peers.Newest(t), peers.StoreRoot(t)
	for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
		m := s.make(t, nix, store, "exported", n/2)
		begun := time.Now()
		s.Run(t, "export", "-q", "--store", store, "--to", s.tree, "-k", key.File, m.path).Want(t, 0)
		s.took(m.path, begun)
		s.exported.Add(1)
	}
}

// prune runs gc again and again, and once more after all others have ended.
func (s *soak) prune(t *testing.T, ctx context.Context) {
	for !t.Failed() {
		s.Run(t, "gc", s.tree, "--keep-young", keepYoung.String(), "--undo", "3s", "--grace", "1s", "--max-removal", "100%", "--yes", "-q").Want(t, 0)
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// read looks for holes, all the time.
func (s *soak) read(t *testing.T, ctx context.Context, tree string) {
	for ctx.Err() == nil && !t.Failed() {
		names, err := filepath.Glob(filepath.Join(tree, "*.narinfo"))
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			whole(t, tree, name)
		}
		s.looks.Add(1)
		if tree == s.tree {
			s.stays(t)
		}
	}
}

// whole checks what a narinfo leads to. It is a hole if something is missing while the
// very same narinfo is there before and after.
func whole(t *testing.T, tree, name string) {
	before, err := os.Stat(name)
	if err != nil {
		return
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	needs := []string{n.URL}
	for _, ref := range n.References {
		needs = append(needs, narinfoOf(string(ref)))
	}
	for _, need := range needs {
		if _, err := os.Stat(filepath.Join(tree, need)); err == nil {
			continue
		}
		after, err := os.Stat(name)
		if err == nil && layout.FileVersion(before) == layout.FileVersion(after) {
			t.Errorf("%s is there, and %s is not", name, need)
		}
	}
}

// stays checks that all that was acknowledged and is young is there.
func (s *soak) stays(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, until := range s.taken {
		_, err := os.Stat(filepath.Join(s.tree, narinfoOf(string(path))))
		if time.Now().After(until) {
			delete(s.taken, path)
		} else if err != nil {
			t.Errorf("%s was acknowledged, and is gone %v before its time: %v", path, time.Until(until), err)
		}
	}
}

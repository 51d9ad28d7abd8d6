//go:build real

// Package soak_test lets everything that writes to a tree be at work at once, with gc
// that has seconds in the place of days, while a reader looks for what no reader may ever
// find: a narinfo without its NAR or references, and a path that was taken and is gone.
package soak_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// slack is what file times and process starts may take.
const slack = 2 * time.Second

// lasts is how long a soak takes, 0 for as short as it may be: make soak says longer.
func lasts(t testing.TB) time.Duration {
	text := os.Getenv("SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A soak is a tree, its mirror, and what has been taken.
type soak struct {
	nixtest.Program
	tree, mirror shelf
	url          string
	key          nixtest.Key

	lasts   time.Duration // and until there was a sweep
	brief   bool          // the first sweep, of paths, is enough
	pushers int
	rest    time.Duration // of a client, after each path
	young   time.Duration // for how long a path stays that nothing else keeps
	undo    string        // "" for none
	killed  bool          // runs of gc are killed now and then, and two are at work at once
	late    atomic.Int64  // requests that a store refused as too old

	mu    sync.Mutex
	taken map[layout.StorePath]time.Time // until when it has to stay

	pushed, exported, looks, looked atomic.Int64
}

// A shelf is a tree: as commands name it, and as the reader reads it.
type shelf struct {
	location string
	layout.Tree
}

// TestSoak is the whole of it, in a directory.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) shelf {
		path := filepath.Join(dir, name)
		d, err := layout.OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return shelf{path, d}
	}
	s := &soak{tree: open("cache"), mirror: open("mirror"), lasts: cmp.Or(lasts(t), 20*time.Second), pushers: 8, young: 10 * time.Second, undo: "3s"}
	s.Output(t, "init", s.tree.location)
	s.run(t)
}

// run lets all of them be at work.
func (s *soak) run(t *testing.T) {
	s.Nix, s.key, s.taken = peers.Newest(t), s.NewKey(t, "soak-1"), map[layout.StorePath]time.Time{}
	first := s.make(t, peers.Newest(t), peers.StoreRoot(t), "first", 0)
	s.Output(t, "export", "--store", first.store, "--to", s.tree.location, "-k", s.key.File, first.path)
	s.Output(t, "pin", s.tree.location, "stays", first.path)
	s.serve(t)
	watching := nixtest.Start(t, s.Command(t, "sync", "--watch", "--rescan", "5s", "--delete", "-q", s.tree.location, s.mirror.location))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	nixes := peers.Nixes(t)
	for i := range s.pushers {
		all.Go(func() { s.push(t, ctx, nixes[i%len(nixes)], i) })
	}
	all.Go(func() { s.export(t, ctx) })
	all.Go(func() { defer cancel(); s.prune(t) })
	if s.killed {
		all.Go(func() { s.hinder(t, ctx) })
	}
	for _, tree := range []shelf{s.tree, s.mirror} {
		all.Go(func() { s.read(t, ctx, tree) })
	}
	all.Wait()
	if watching.Ended() {
		t.Error("the mirror has ended by itself")
	}
	watching.Signal(t, syscall.SIGTERM)
	watching.Wait(t)
	s.Output(t, "sync", "--delete", "-q", s.tree.location, s.mirror.location)
	for _, tree := range []shelf{s.tree, s.mirror} {
		s.Run(t, "verify", "--deep", "-q", tree.location).Want(t, 0)
		if _, err := tree.Stat(t.Context(), narinfoOf(first.path)); err != nil {
			t.Errorf("what is pinned: %v", err)
		}
	}
	withdrawn, removed := s.pruned(t)
	t.Logf("%d pushes, %d exports, %d looks at a tree, %d at what was acknowledged; %d paths withdrawn, %d objects removed; %d requests too old",
		s.pushed.Load(), s.exported.Load(), s.looks.Load(), s.looked.Load(), withdrawn, removed, s.late.Load())
	if s.pushed.Load() == 0 || s.exported.Load() == 0 || s.looked.Load() == 0 || withdrawn == 0 || removed == 0 && !s.brief {
		t.Error("not all of them were at work")
	}
}

// pruned sums up the runs of gc.
func (s *soak) pruned(t *testing.T) (withdrawn, removed int) {
	var runs struct {
		Runs []struct{ Withdrawn, Reclaimed struct{ Count int } }
	}
	if err := json.Unmarshal([]byte(s.Output(t, "gc", "runs", s.tree.location, "--json")), &runs); err != nil {
		t.Fatal(err)
	}
	for _, r := range runs.Runs {
		withdrawn, removed = withdrawn+r.Withdrawn.Count, removed+r.Reclaimed.Count
	}
	return withdrawn, removed
}

func (s *soak) serve(t *testing.T) {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	token := s.Output(t, "token", "create", "--file", tokens, "--name", "builder", "--scope", "upload")
	cmd := s.Command(t, "serve", s.tree.location, "--listen", "127.0.0.1:0", "-k", s.key.File, "--tokens", tokens)
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

func narinfoOf(path string) layout.Key {
	return layout.NarInfoKey(layout.StorePath(filepath.Base(path)))
}

// took notes that a path was acknowledged. A path that was there is renewed only when
// half of its time is over, so half is what it has at least.
func (s *soak) took(path string, begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[layout.StorePath(filepath.Base(path))] = begun.Add(s.young/2 - slack)
}

// excused reports whether a command may have failed because the machine is so busy that
// a request got to the store too late.
func (s *soak) excused(before int64) bool { return s.late.Load() > before }

// push is a client that copies new paths and ones that it has pushed before.
func (s *soak) push(t *testing.T, ctx context.Context, nix peers.Nix, who int) {
	store := peers.StoreRoot(t)
	for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
		m := s.make(t, nix, store, fmt.Sprintf("pushed-%d", who), n/2)
		nix.Home = t.TempDir() // remembers nothing
		begun, late := time.Now(), s.late.Load()
		_, err := run(nix.Command(t, "nix", "copy", "--no-check-sigs", "--store", store, "--to", s.url+"/upload?compression=none&write-nar-listing=true", "--derivation", m.path))
		if err != nil && time.Since(begun) < s.young/2 && !s.excused(late) {
			t.Errorf("Nix %s, push %d: %v", nix.Version, n, err)
		}
		if err == nil {
			s.took(m.path, begun)
			s.pushed.Add(1)
		}
		pause(ctx, s.rest)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *soak) export(t *testing.T, ctx context.Context) {
	nix, store := peers.Newest(t), peers.StoreRoot(t)
	for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
		m := s.make(t, nix, store, "exported", n/2)
		begun, late := time.Now(), s.late.Load()
		r := s.Run(t, "export", "-q", "--store", store, "--to", s.tree.location, "-k", s.key.File, m.path)
		if s.excused(late) {
			continue
		}
		r.Want(t, 0)
		s.took(m.path, begun)
		s.exported.Add(1)
		pause(ctx, s.rest)
	}
}

func (s *soak) gc(t *testing.T) *exec.Cmd {
	return s.Command(t, "gc", s.tree.location, "--keep-young", s.young.String(), "--undo", cmp.Or(s.undo, "0"), "--grace", "1s", "--max-removal", "100%", "--yes", "-q")
}

// prune runs gc again and again, until the time is over and something was removed.
func (s *soak) prune(t *testing.T) {
	for begun := time.Now(); !t.Failed(); pause(t.Context(), 500*time.Millisecond) {
		late := s.late.Load()
		r := nixtest.Wait(t, s.gc(t))
		if !s.excused(late) && !(s.killed && stopped(r)) {
			r.Want(t, 0)
		}
		if over := time.Since(begun) - s.lasts; over > 3*time.Minute {
			return
		} else if over > 0 {
			if withdrawn, removed := s.pruned(t); removed > 0 || s.brief && withdrawn > 0 {
				pause(t.Context(), slack) // with what the run has changed
				return
			}
		}
	}
}

// stopped reports whether a run did nothing because of another one.
func stopped(r nixtest.Result) bool {
	return r.Code == 1 && slices.ContainsFunc([]string{"is at work in this cache", "a run broke off while it removed", "changed the plan of this cache", "another run has taken over"},
		func(words string) bool { return strings.Contains(r.Stderr, words) })
}

// hinder runs gc beside gc, and kills it at any moment.
func (s *soak) hinder(t *testing.T, ctx context.Context) {
	for ctx.Err() == nil && !t.Failed() {
		cmd := s.gc(t)
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		pause(ctx, rand.N(4*time.Second))
		cmd.Process.Kill()
		cmd.Wait()
		pause(ctx, rand.N(20*time.Second))
	}
}

// read looks for holes, all the time.
func (s *soak) read(t *testing.T, ctx context.Context, tree shelf) {
	for ; ctx.Err() == nil && !t.Failed(); pause(ctx, s.rest/4) {
		for info, err := range tree.List(t.Context(), "") {
			if err != nil {
				t.Error(err)
			} else if info.Key.Kind() == layout.KindNarInfo {
				whole(t, tree, info.Key)
			}
		}
		s.looks.Add(1)
		if tree == s.tree {
			s.stays(t)
		}
	}
}

// whole checks what a narinfo leads to. It is a hole if something is missing while the
// very same narinfo is there before and after.
func whole(t *testing.T, tree shelf, key layout.Key) {
	text, before, err := layout.ReadVersion(t.Context(), tree, key)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Errorf("%s: %v", key, err)
		return
	}
	needs := []layout.Key{layout.Key(n.URL)}
	for _, ref := range n.References {
		needs = append(needs, layout.NarInfoKey(ref))
	}
	for _, need := range needs {
		if _, there, err := layout.Lookup(t.Context(), tree, need); err != nil {
			t.Error(err)
		} else if there {
			continue
		}
		_, after, err := layout.ReadVersion(t.Context(), tree, key)
		if err == nil && before.ETag == after.ETag && before.ModTime.Equal(after.ModTime) {
			t.Errorf("%s: %s is there, and %s is not", tree.location, key, need)
		}
	}
}

// stays checks that all that was acknowledged and is young is there.
func (s *soak) stays(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, until := range s.taken {
		_, err := s.tree.Stat(t.Context(), layout.NarInfoKey(path))
		if time.Now().After(until) {
			delete(s.taken, path)
			continue
		}
		if s.looked.Add(1); err != nil {
			t.Errorf("%s was acknowledged, and is gone %v before its time: %v", path, time.Until(until), err)
		}
	}
}

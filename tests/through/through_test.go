//go:build real

package through_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Each Nix gets paths through an empty tree by the server's key alone. The tree has them
// then without the upstream, for readers of its files too, and is whole.
func TestThrough(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			s := start(t, []*upstream{up})
			pull(t, fresh(t, nix), s.URL, s.Key.Public, some(t)...)
			until(t, "all are published", func() bool { return narinfos(t, s.Tree) == narinfos(t, up.Tree) })
			up.misbehave(func(int, string) fault { return failed })
			defer up.misbehave(nil)
			pull(t, fresh(t, nix), s.URL, s.Key.Public, some(t)...)
			if status, _, _ := get(t, s.URL+"/"+strings.Repeat("0", 32)+".narinfo"); status != 503 {
				t.Errorf("a path of which nobody can tell: status %d", status)
			}
			s.stop(t)
			verify(t, s.Tree, s.Key.Public)
			pull(t, fresh(t, nix), "file://"+s.Tree, up.Key.Public, some(t)...)
		})
	}
}

// 32 clients that ask for the same NAR at once are one question and one fetch.
func TestOneFetch(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	up.misbehave(always(paused))
	s := start(t, []*upstream{up})
	path := named(t, "libgcc-s1-")[0]
	bodies := make([]string, 32)
	var clients sync.WaitGroup
	for i := range bodies {
		clients.Go(func() {
			url := urlOf(t, s.URL, path)
			response, err := http.Get(url)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != 200 {
				t.Errorf("status %d, %v", response.StatusCode, err)
			}
			bodies[i] = string(text)
		})
	}
	clients.Wait()
	for i := range bodies {
		if bodies[i] != bodies[0] || bodies[i] == "" {
			t.Errorf("client %d got other bytes", i)
		}
	}
	if n := up.times("/nar/"); n != 1 {
		t.Errorf("the NAR was fetched %d times", n)
	}
	if n := up.times("/" + hashPart(path)); n != 1 {
		t.Errorf("the narinfo was asked for %d times", n)
	}
}

// A client that goes away half-way leaves a fetch that goes on to its end.
func TestClientGoes(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	up.misbehave(always(paused))
	s := start(t, []*upstream{up})
	path := named(t, "libgcc-s1-")[0]
	response, err := http.Get(urlOf(t, s.URL, path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	until(t, "the path is there", func() bool { return narinfos(t, s.Tree) == 1 })
	up.misbehave(nil)
	pull(t, fresh(t, peers.Newest(t)), s.URL, s.Key.Public, path)
	s.stop(t)
	verify(t, s.Tree, s.Key.Public)
}

// A server that is killed while it fetches leaves a whole tree, and the next one goes on
// with clients that know the records from the one before.
func TestKilled(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	s := start(t, []*upstream{up})
	nix := fresh(t, peers.Newest(t))
	nix.Output(t, "nix", append([]string{"path-info", "--store", s.URL, "--recursive"}, some(t)...)...) // it remembers them
	up.misbehave(always(paused))
	var client sync.WaitGroup
	client.Go(func() { tryPull(t, nix, s.URL, s.Key.Public, some(t)...) })
	until(t, "some are there and others come", func() bool { return narinfos(t, s.Tree) >= 1 && up.times("/nar/") >= 3 })
	s.kill(t)
	client.Wait()
	verify(t, s.Tree, s.Key.Public)
	up.misbehave(nil)
	address := strings.TrimPrefix(s.URL, "http://")
	s.args = append(s.args, "--listen", address)
	s.run(t)
	pull(t, nix, "http://"+address, s.Key.Public, some(t)...)
	until(t, "all are published", func() bool { return narinfos(t, s.Tree) == narinfos(t, up.Tree) })
	s.stop(t)
	verify(t, s.Tree, s.Key.Public)
}

// Only paths that match a pattern are fetched.
func TestOnly(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	s := start(t, []*upstream{up}, "--pull-through-only", "libgcc*", "--pull-through-only", "fl?t")
	for name, want := range map[string]int{"libgcc-s1-": 200, "flat": 200, "tree": 404} {
		if status, _, _ := get(t, s.URL+"/"+hashPart(named(t, name)[0])+".narinfo"); status != want {
			t.Errorf("%s: status %d, want %d", name, status, want)
		}
	}
	if text := s.log.String(); !strings.Contains(text, "filled from upstreams") || strings.Contains(text, "there is no token") {
		t.Errorf("a server that clients only read from is told:\n%s", text)
	}
}

// Pruning with a bound on the size removes what was fetched, beside fetches, and what
// clients ask for comes again.
func TestPruned(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	s := start(t, []*upstream{up})
	policy := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(policy, []byte("keep young 1d\nundo 1h\nmax-size 100KB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ours(t).Output(t, "gc", "policy", "--set", policy, s.Tree)
	nixes := peers.Nixes(t)
	var clients sync.WaitGroup
	for _, nix := range nixes {
		clients.Go(func() {
			for range 2 {
				pull(t, fresh(t, nix), s.URL, s.Key.Public, some(t)...)
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	removed, undo := false, "1s"
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		before := narinfos(t, s.Tree)
		undo = map[string]string{"1s": "1h", "1h": "1s"}[undo] // some NARs stay for a while, others go at once
		ours(t).Output(t, "gc", "--no-pins", "--undo", undo, "--grace", "1s", "--max-removal", "100%", s.Tree)
		removed = removed || narinfos(t, s.Tree) < before
	}
	if !removed {
		t.Error("nothing was pruned")
	}
	pull(t, fresh(t, peers.Newest(t)), s.URL, s.Key.Public, some(t)...)
	// A Nix that remembers the narinfos from before asks for the NARs alone.
	for _, nix := range nixes {
		nix = fresh(t, nix)
		until(t, "all are there", func() bool { return narinfos(t, s.Tree) == narinfos(t, up.Tree) })
		nix.Output(t, "nix", append([]string{"path-info", "--store", s.URL, "--recursive"}, some(t)...)...)
		until(t, "nothing is left", func() bool {
			ours(t).Output(t, "gc", "--no-pins", "--keep-young", "0", "--undo", "0", "--grace", "0", "--max-removal", "100%", s.Tree)
			left, err := filepath.Glob(filepath.Join(s.Tree, "nar", "*"))
			return err == nil && len(left) == 0
		})
		pull(t, nix, s.URL, s.Key.Public, some(t)...)
	}
	s.stop(t)
	verify(t, s.Tree, s.Key.Public)
}

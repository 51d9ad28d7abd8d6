//go:build real

package builders_test

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A command's builds are sent, its output and exit code are its own.
func TestExec(t *testing.T) {
	eachNix(t, func(t *testing.T, nix peers.Nix) {
		b := newBuilder(t, nix)
		b.makeStore(t)
		s := newServer(t, nix, "--store-dir", b.storeDir)
		watch := []string{"watch", s.upload(), "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc, "--exec"}
		r := b.program().Run(t, append(append(append([]string{}, watch...), "--strict", "--", b.Bin("nix-build")), b.buildArgs(0, 5)...)...).Want(t, 0)
		built := strings.Fields(r.Stdout)
		if len(built) != 5 {
			t.Errorf("nix-build says %q", r.Stdout)
		}
		checkSent(t, s, b.closure(t, built))
		if st := b.status(t); st.Waiting != 0 || st.Sent != 6 {
			t.Errorf("%+v", st)
		}
		if r := b.program().Run(t, append(watch, "--", "sh", "-c", "exit 7")...); r.Code != 7 {
			t.Errorf("exit code %d, want 7", r.Code)
		}
		if r := b.program().Run(t, append(watch, "--", "sh", "-c", "kill -KILL $$")...); r.Code != 128+9 {
			t.Errorf("exit code %d, want 137", r.Code)
		}
		s.stop(t)
		r = b.program().Run(t, append(append(append([]string{}, watch...), "--timeout", "1s", "--", b.Bin("nix-build")), b.buildArgs(5, 2)...)...).Want(t, 0)
		if !strings.Contains(r.Stderr, " paths could not be sent, and wait in the queue") {
			t.Errorf("a server that is away: %s", r.Stderr)
		}
	})
}

// A service sends what is built in the store, and nothing that was copied there or was
// there before. Killed, it loses nothing.
func TestStore(t *testing.T) {
	eachNix(t, func(t *testing.T, nix peers.Nix) {
		b := newBuilder(t, nix)
		before := b.build(t, 100, 2)
		substituted := b.build(t, 200, 1)[0]
		key, cache := b.program().NewKey(t, "other-1"), filepath.Join(t.TempDir(), "cache")
		b.program().Output(t, "export", "--store", b.store, "--to", cache, "-k", key.File, substituted)
		b.Output(t, "nix-store", "--store", b.store, "--delete", substituted)
		time.Sleep(1100 * time.Millisecond) // the store knows of seconds alone
		s := newServer(t, nix, "--store-dir", b.storeDir)
		start := func() *nixtest.Running {
			return nixtest.Start(t, b.program().Command(t, "watch", s.upload(), "--store", "--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc))
		}
		watch := start()
		until(t, "the watch runs", func() bool {
			lists, _ := filepath.Glob(filepath.Join(b.queue, "status"))
			return len(lists) > 0
		})
		// Substituted while the watch looks.
		b.Output(t, "nix-store", "--store", b.store, "--realise", substituted, "--option", "substituters", "file://"+cache+"?store="+b.storeDir, "--option", "trusted-public-keys", key.Public)

		built := b.build(t, 0, 5)
		until(t, "all is sent", func() bool { return !slices.ContainsFunc(built, func(p string) bool { return !s.has(p) }) })
		watch.Signal(t, syscall.SIGKILL)
		watch.Wait(t)
		built = append(built, b.build(t, 5, 5)...)
		watch = start()
		until(t, "all is sent", func() bool { return !slices.ContainsFunc(built, func(p string) bool { return !s.has(p) }) })
		watch.Signal(t, syscall.SIGTERM)
		watch.Wait(t).Want(t, 0)
		for _, p := range append(before, substituted) {
			if s.has(p) {
				t.Errorf("%s was sent, which was there before or substituted", p)
			}
		}
		checkSent(t, s, b.closure(t, built))
	})
}

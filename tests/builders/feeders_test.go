//go:build real

package builders_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
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
		for name, code := range map[string]int{"no-such-program": 127, "/no/such/program": 127, "/etc/passwd": 126, "/etc": 126} {
			r := b.program().Run(t, append(watch, "--", name)...)
			if r.Code != code || !strings.Contains(r.Stderr, "nixstatic: error: ") || !strings.Contains(r.Stderr, "nixstatic: hint: ") {
				t.Errorf("%s: exit code %d, want %d: %s", name, r.Code, code, r.Stderr)
			}
		}
		s.stop(t)
		r = b.program().Run(t, append(append(append([]string{}, watch...), "--timeout", "1s", "--", b.Bin("nix-build")), b.buildArgs(5, 2)...)...).Want(t, 0)
		if !strings.Contains(r.Stderr, " paths could not be sent, and wait in the queue") {
			t.Errorf("a server that is away: %s", r.Stderr)
		}
	})
}

// A terminal that is closed ends the command in good order, and what it built is in the queue.
func TestExecHangup(t *testing.T) {
	b := newBuilder(t, peers.Newest(t))
	b.makeStore(t)
	begun := filepath.Join(t.TempDir(), "begun")
	// A program ignores SIGHUP if the one that starts it does: these tests may run under nohup.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	defer signal.Stop(heard)
	script := "trap 'exit 5' TERM; : >" + begun + "; while :; do sleep 0.1; done"
	watch := nixtest.Start(t, b.program().Command(t, "watch", filepath.Join(t.TempDir(), "cache"), "--queue", b.queue, "--nix-store", b.store, "--exec", "--", "sh", "-c", script))
	until(t, "the command runs", func() bool { _, err := os.Stat(begun); return err == nil })
	watch.Signal(t, syscall.SIGHUP)
	watch.Wait(t).Want(t, 5)
}

// A queue is for one cache: a second cache is told that nothing comes to it, and changes nothing
// about where the queue goes.
func TestTwoCaches(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	b.makeStore(t)
	s := newServer(t, nix, "--store-dir", b.storeDir)
	other := filepath.Join(t.TempDir(), "other")
	flags := []string{"--queue", b.queue, "--nix-store", b.store, "--netrc-file", s.Netrc}
	run := func(args ...string) nixtest.Result { return b.program().Run(t, append(args, flags...)...) }
	hookOf := b.hook(t, s)
	watch := nixtest.Start(t, b.program().Command(t, append([]string{"watch", s.upload()}, flags...)...))
	until(t, "the watch sends", func() bool {
		_, err := os.Stat(filepath.Join(b.queue, "lock"))
		return err == nil && b.status(t).Draining
	})
	astray := "nothing is sent to " + other
	run("watch", other).Refused(t, "another process drains this queue")
	run("watch", "drain", other, "--strict").Refused(t, astray)
	exec := append(append([]string{"watch", other}, flags...), "--exec")
	if r := b.program().Run(t, append(exec, "--", "true")...).Want(t, 0); !strings.Contains(r.Stderr, astray) {
		t.Errorf("it says %s", r.Stderr)
	}
	b.program().Run(t, append(exec, "--strict", "--", "true")...).Refused(t, astray)
	watch.Signal(t, syscall.SIGKILL)
	watch.Wait(t)
	// The queue goes where it went.
	hook := []string{"--option", "post-build-hook", hookOf}
	built := b.build(t, 0, 2, hook...)
	run("watch", "drain", "--strict").Want(t, 0)
	checkSent(t, s, b.closure(t, built))
	// A path that waited for one cache goes to another if a person says so, and that is told.
	b.build(t, 4, 1, hook...)
	if r := run("watch", other, "--hook").Want(t, 0); !strings.Contains(r.Stderr, "1 path waited for "+s.upload()) {
		t.Errorf("it says %s", r.Stderr)
	}
}

// A server that asks to come back later is seen in the status while the attempt lasts.
func TestBusyServer(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	built := b.build(t, 0, 1)
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer busy.Close()
	to := strings.Replace(busy.URL, "http://", "http://someone:secret-word@", 1) + "/upload"
	b.run(t, nil, "watch", to, "--hook", "--queue", b.queue, "--nix-store", b.store).Want(t, 0)
	b.run(t, []string{"OUT_PATHS=" + built[0]}, "watch", "send", "--queue", b.queue).Want(t, 0)
	drain := nixtest.Start(t, b.program().Command(t, "watch", "drain", "--queue", b.queue, "--timeout", "1m", "--strict"))
	until(t, "the status says why", func() bool { return strings.Contains(b.status(t).LastError, "429 Too Many Requests") })
	if text := b.program().Output(t, "watch", "status", "--queue", b.queue); !strings.Contains(text, "the attempt under way began at") || strings.Contains(text, "secret-word") {
		t.Errorf("status says\n%s", text)
	}
	drain.Signal(t, syscall.SIGTERM)
	if r := drain.Wait(t); !strings.Contains(r.Stderr, "429") || strings.Contains(r.Stderr, "secret-word") || strings.Count(r.Stderr, "note: a password") != 1 {
		t.Errorf("drain says %s", r.Stderr)
	}
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

//go:build linux && real

package crash

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each call by which a server changes the tree is its last one, or fails, while
// it takes an upload. The tree must be right at that instant; a server that was
// killed is started again, one that saw a call fail has said so to the client and
// lives on; and the client that tries again brings the rest.
func TestServeFaults(t *testing.T) {
	for i, s := range scripts(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testServeFaults(t, s, i > 0)
		})
	}
}

func testServeFaults(t *testing.T, s script, brief bool) {
	p, plain := newRunner(t), scratch(t)
	run := watch{Dir: plain}.serve(t, p.Command(t, serveArgs(t, plain)...), func(url string) {
		if err := s.send(t.Context(), url); err != nil {
			t.Error(err)
		}
	})
	run.Want(t, 0)
	p.complete(t, filepath.Join(plain, "tree"), scenario{want: func(testing.TB) []string { return uploaded(t).records() }})
	want := contents(t, filepath.Join(plain, "tree"))
	t.Logf("%d requests, %d calls change the tree", len(s.requests), len(run.Calls))

	for at := 1; at <= len(run.Calls)+slack; at++ {
		if brief && at <= len(run.Calls) && run.Calls[at-1].staging() {
			continue // as with the other script
		}
		for _, f := range faultsAt(run.Calls, at, brief) {
			t.Run(fmt.Sprintf("%d %v", at, f), func(t *testing.T) {
				t.Parallel()
				testServeFault(t, p, s, f, want)
			})
		}
	}
}

func testServeFault(t *testing.T, p runner, s script, f fault, want map[string]string) {
	dir := scratch(t)
	var first, again error
	run := watch{Dir: dir, Fault: f}.serve(t, p.Command(t, serveArgs(t, dir)...), func(url string) {
		if first = s.send(t.Context(), url); f.Kill || first == nil {
			return
		}
		if err := soundness(t, dir); err != nil {
			t.Errorf("while the server lives on: %v", err)
		}
		again = s.send(t.Context(), url)
	})
	defer func() {
		if t.Failed() {
			t.Logf("the fault was %v of %v; the client was told: %v\nexit code %d\n%s", f, run.Hit, first, run.Code, run.Stderr)
			for i := max(0, f.At-10); i < min(f.At+10, len(run.Calls)); i++ {
				t.Logf("%d %v", i+1, run.Calls[i])
			}
		}
	}()
	switch {
	case run.Hit != nil && f.Kill:
		if !run.Killed {
			t.Errorf("it was to be killed, and ended with code %d", run.Code)
		}
	case run.Stdout == "", // it did not come to serving
		run.Code != 0 && run.Hit != nil && forgivable(f, *run.Hit): // or did not tidy up when it ended
		checkOutcome(t, f, run)
	default:
		run.Want(t, 0)
		if again != nil {
			t.Errorf("the client tries again, and fails: %v", again)
		}
		checkAnswer(t, s, f, run, first)
	}
	if err := soundness(t, dir); err != nil {
		t.Error(err)
	}
	if !f.Kill && !f.After {
		d := newDisk(t, withCache(t))
		d.run(t, run.Calls, dir)
		checkPromises(t, d, promisesOf(run, 0, false))
	}
	switch served := run.Stdout != "" && !run.Killed; {
	case served && first == nil && s.waits:
		// It was told that all is well, and has nothing to send again.
		sameTree(t, anyListings(want), anyListings(p.resume(t, dir, func(string) error { return nil })))
	case served:
		sameTree(t, want, contents(t, filepath.Join(dir, "tree")))
	default:
		sameTree(t, want, p.resume(t, dir, func(url string) error { return s.send(t.Context(), url) }))
	}
}

// checkAnswer checks what the client was told of the fault: the request that met
// it fails, and the words say what is wrong.
func checkAnswer(t *testing.T, s script, f fault, run trace, err error) {
	t.Helper()
	switch {
	case run.Hit == nil:
		if err != nil {
			t.Error(err)
		}
		return
	case err == nil:
		if !s.waits && !forgivable(f, *run.Hit) {
			t.Errorf("all uploads succeeded although this failed: %v", run.Hit)
		}
		return
	}
	told := refused(err)
	if told == nil {
		t.Errorf("the client got no answer: %v", err)
		return
	}
	agent := told.request.Header.Get("User-Agent")
	statuses, words := []int{http.StatusServiceUnavailable}, "storage"
	if f.Errno == unix.ENOSPC {
		statuses, words = []int{http.StatusInsufficientStorage}, "full"
		if strings.Contains(agent, "Nix/") {
			statuses = []int{http.StatusRequestEntityTooLarge}
		}
	}
	if strings.Contains(agent, "Nix/2.8.") {
		// It hangs if it is to send a body twice.
		statuses = append(statuses, http.StatusNotImplemented)
	}
	if !slices.Contains(statuses, told.status) || !strings.Contains(told.text, words) {
		t.Errorf("the client was told %d %q, want one of %v and %q", told.status, told.text, statuses, words)
	}
}

// forgivable reports whether an upload may succeed although a call failed: to tidy
// up may be left undone, and a folder that is there is there.
func forgivable(f fault, c call) bool {
	return c.Name == "unlinkat" && strings.Contains(c.Path, ".nixstatic/staging") || c.Name == "mkdirat" && f.After
}

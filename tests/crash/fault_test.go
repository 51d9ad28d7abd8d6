//go:build linux && real

package crash

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// slack is how many calls more than the first run another run may make.
const slack = 4

// Each call that changes the tree is the last one of a run, or fails. The tree
// must be right at that instant, and the next run must bring the rest.
func TestFaults(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testFaults(t, s)
		})
	}
}

func testFaults(t *testing.T, s scenario) {
	if s.tree == "" {
		s.tree = "tree"
	}
	p := newRunner(t)
	before := scratch(t)
	if s.before != nil {
		s.before(t, p, before)
	}
	// Without a fault, all is well, and tells how many calls there are.
	plain := scratch(t)
	copyTree(t, plain, before)
	run := watch{Dir: plain, Lacks: s.lacks}.run(t, p.Command(t, s.args(t, plain)...))
	run.Want(t, 0)
	p.complete(t, filepath.Join(plain, s.tree), s)
	t.Logf("%d calls change the tree", len(run.Calls))

	for at := 1; at <= len(run.Calls)+slack; at++ {
		for _, f := range faultsAt(run.Calls, at, s.brief) {
			t.Run(fmt.Sprintf("%d %v", at, f), func(t *testing.T) {
				t.Parallel()
				testFault(t, p, s, before, f)
			})
		}
	}
}

// faultsAt returns the faults of the call at a place, from 1. Another run may
// have another call there.
func faultsAt(calls []call, at int, brief bool) []fault {
	faults := []fault{{At: at, Kill: true}}
	naming := at > len(calls) || calls[at-1].naming()
	if naming || !brief {
		faults = append(faults, fault{At: at, Errno: unix.EIO}, fault{At: at, Errno: unix.ENOSPC})
	}
	if naming {
		faults = append(faults, fault{At: at, Errno: unix.EIO, After: true})
	}
	return faults
}

func testFault(t *testing.T, p runner, s scenario, before string, f fault) {
	dir := scratch(t)
	copyTree(t, dir, before)
	tree := filepath.Join(dir, s.tree)
	run := watch{Dir: dir, Fault: f, Lacks: s.lacks}.run(t, p.Command(t, s.args(t, dir)...))
	defer func() {
		if t.Failed() {
			t.Logf("the fault was %v of %v; exit code %d\n%s", f, run.Hit, run.Code, run.Stderr)
			for i := max(0, f.At-10); i < min(f.At+10, len(run.Calls)); i++ {
				t.Logf("%d %v", i+1, run.Calls[i])
			}
		}
	}()
	checkOutcome(t, f, run)
	p.sound(t, tree, s.between...)
	unchanged(t, dir, before)

	if run.Hit != nil { // even if it succeeded: it may not have tidied up
		p.Run(t, s.args(t, dir)...).Want(t, 0)
		if s.after != nil {
			p.Run(t, s.after(t, dir)...).Want(t, 0)
		}
	}
	p.complete(t, tree, s)
	unchanged(t, dir, before)
}

// checkOutcome checks how the program took the fault: what did not succeed is
// said, and said why.
func checkOutcome(t *testing.T, f fault, run trace) {
	t.Helper()
	switch {
	case run.Hit == nil:
		run.Want(t, 0) // it had fewer calls
	case f.Kill:
		if !run.Killed {
			t.Errorf("it was to be killed, and ended with code %d", run.Code)
		}
	case run.Code == 0:
		// To tidy up may be left undone, and a folder that is there is there.
		tidying := run.Hit.Name == "unlinkat" && strings.Contains(run.Hit.Path, ".nixstatic/staging")
		if made := run.Hit.Name == "mkdirat" && f.After; !tidying && !made {
			t.Errorf("it succeeded although this failed: %v", run.Hit)
		}
	default:
		want := []string{"nixstatic: error: "}
		if f.Errno == unix.ENOSPC {
			want = append(want, "no space left on device", "nixstatic: hint: make room")
		} else {
			want = append(want, "input/output error")
		}
		run.Want(t, 1)
		for _, words := range want {
			if !strings.Contains(run.Stderr, words) {
				t.Errorf("it does not say %q:\n%s", words, run.Stderr)
			}
		}
	}
}

// unchanged checks that all that was there still is, and that every NAR has the
// bytes it had: clients remember where a path's NAR is for 30 days.
func unchanged(t *testing.T, dir, before string) {
	t.Helper()
	have := names(t, dir)
	for _, name := range names(t, before) {
		if strings.Contains(name, ".nixstatic/") {
			continue
		}
		if !slices.Contains(have, name) {
			t.Errorf("%s is gone", name)
		} else if strings.Contains(name, "nar/") && digest(t, filepath.Join(dir, name)) != digest(t, filepath.Join(before, name)) {
			t.Errorf("%s has other bytes than before", name)
		}
	}
}

func digest(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

func copyTree(t testing.TB, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

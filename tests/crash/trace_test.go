//go:build linux

package crash

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// A fault is what happens to one call of a run.
type fault struct {
	At    int        // which call, from 1; 0 for none
	Kill  bool       // the process is killed before it
	Errno unix.Errno // or it fails, without having happened
	After bool       // or it fails although it has happened
}

func (f fault) String() string {
	switch {
	case f.Kill:
		return "kill"
	case f.After:
		return unix.ErrnoName(f.Errno) + " after it happened"
	}
	return unix.ErrnoName(f.Errno)
}

// A watch runs a program and stops it at each call on something in a folder.
// Calls of all threads are counted together. Processes that the program starts
// are not counted and have no faults.
type watch struct {
	Dir   string
	Stops string // at which calls, see shapeSets; "" for changing
	Fault fault
	Lacks map[uint64]unix.Errno // calls that the system does not have, and what it answers
}

// A trace is what a watch saw.
type trace struct {
	Calls  []call
	Hit    *call // that the fault happened to, nil if the run had fewer calls
	Killed bool
	nixtest.Result
}

// hang is how long a run may take before it counts as hanging.
const hang = 3 * time.Minute

// run runs the command under the watch, to its end.
func (w watch) run(t testing.TB, cmd *exec.Cmd) trace {
	t.Helper()
	if w.Stops == "" {
		w.Stops = "changing"
	}
	outputs := [2]*os.File{}
	for i := range outputs {
		f, err := os.CreateTemp(t.TempDir(), "output")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		outputs[i] = f
	}
	tr := &tracer{watch: w, threads: map[int]*thread{}}
	done := make(chan error)
	tracers <- func() { done <- tr.trace(cmd, outputs[0], outputs[1]) }
	if err := <-done; err != nil {
		t.Fatalf("trace %q: %v", cmd.Args, err)
	}
	var texts [2]string
	for i, f := range outputs {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	if tr.hung.Load() {
		t.Fatalf("%q hangs (fault: %v at %v)\n%s", cmd.Args, w.Fault, tr.hit, texts[1])
	}
	return trace{Calls: tr.calls, Hit: tr.hit, Killed: tr.status.Signaled() && tr.status.Signal() == unix.SIGKILL,
		Result: nixtest.Result{Args: cmd.Args[1:], Stdout: texts[0], Stderr: texts[1], Code: tr.status.ExitStatus()}}
}

// tracers run functions on threads of their own. All requests of ptrace must
// come from one thread, and it is to have no children but those it traces: a
// thread that Go has used before may have some, and would wait for them.
var tracers = make(chan func())

// startTracers is to be called before anything is started.
func startTracers() {
	for range runtime.GOMAXPROCS(0) {
		go func() {
			runtime.LockOSThread()
			for f := range tracers {
				f()
			}
		}()
	}
}

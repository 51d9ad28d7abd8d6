//go:build linux && real

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
	Talk   []said // of a server, with its clients
	Hit    *call  // that the fault happened to, nil if the run had fewer calls
	Killed bool
	nixtest.Result
}

// hang is how long a run may take before it counts as hanging.
const hang = 3 * time.Minute

// run runs the command under the watch, to its end.
func (w watch) run(t testing.TB, cmd *exec.Cmd) trace {
	t.Helper()
	return w.start(t, cmd).wait(t)
}

// A watched is a run under way.
type watched struct {
	tr      *tracer
	cmd     *exec.Cmd
	outputs [2]*os.File
	ended   chan struct{}
	err     error // when it has ended: of tracing
}

// start starts the command under the watch. Someone has to wait for it.
func (w watch) start(t testing.TB, cmd *exec.Cmd) *watched {
	t.Helper()
	if w.Stops == "" {
		w.Stops = "changing"
	}
	r := &watched{tr: &tracer{watch: w, threads: map[int]*thread{}}, cmd: cmd, ended: make(chan struct{})}
	for i := range r.outputs {
		f, err := os.CreateTemp(t.TempDir(), "output")
		if err != nil {
			t.Fatal(err)
		}
		r.outputs[i] = f
	}
	tracers <- func() {
		defer close(r.ended)
		r.err = r.tr.trace(cmd, r.outputs[0], r.outputs[1])
	}
	return r
}

// printed returns what the program has printed so far.
func (r *watched) printed(t testing.TB, output *os.File) string {
	t.Helper()
	text, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wait waits for the end of the run.
func (r *watched) wait(t testing.TB) trace {
	t.Helper()
	<-r.ended
	tr := r.tr
	if r.err != nil {
		t.Fatalf("trace %q: %v", r.cmd.Args, r.err)
	}
	stdout, stderr := r.printed(t, r.outputs[0]), r.printed(t, r.outputs[1])
	for _, f := range r.outputs {
		f.Close()
	}
	if tr.hung.Load() {
		t.Fatalf("%q hangs (fault: %v at %v)\n%s", r.cmd.Args, tr.Fault, tr.hit, stderr)
	}
	return trace{Calls: tr.calls, Talk: tr.talk, Hit: tr.hit, Killed: tr.status.Signaled() && tr.status.Signal() == unix.SIGKILL,
		Result: nixtest.Result{Args: r.cmd.Args[1:], Stdout: stdout, Stderr: stderr, Code: tr.status.ExitStatus()}}
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

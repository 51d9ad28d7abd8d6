//go:build linux && real

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tracer is a watch at work.
type tracer struct {
	watch
	pid     int
	threads map[int]*thread
	calls   []call
	talk    []said
	clock   int // beginnings and ends of calls so far
	hit     *call
	status  unix.WaitStatus
	hung    atomic.Bool
	started atomic.Int64 // the process, once there is one
}

// A thread is one of the program's, or of one that it started.
type thread struct {
	foreign bool // of another process
	inside  *visit
}

// A visit is a thread's stay in a call that we see the end of.
type visit struct {
	call    int        // which one of calls, -1 if it is not counted
	answer  unix.Errno // given instead of the call's own
	skipped bool       // the call does not happen
	hears   *said      // what the call reads from a socket, into memory at into
	into    uint64
}

func (tr *tracer) trace(cmd *exec.Cmd, stdout, stderr *os.File) error {
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer devNull.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	process, err := os.StartProcess(self, append([]string{self, cmd.Path}, cmd.Args[1:]...), &os.ProcAttr{Dir: cmd.Dir,
		Env: append(slices.Clone(cmd.Env), stopAt+"="+tr.Stops), Files: []*os.File{devNull, stdout, stderr},
		Sys: &unix.SysProcAttr{Ptrace: true}})
	if err != nil {
		return err
	}
	tr.pid = process.Pid
	tr.started.Store(int64(tr.pid))
	defer process.Release()
	if _, err := unix.Wait4(tr.pid, &tr.status, 0, nil); err != nil || !tr.status.Stopped() {
		return fmt.Errorf("it did not stop at its beginning: %v", err)
	}
	// A process that inherits the filter must be traced, or its calls fail.
	const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP |
		unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK
	if err := unix.PtraceSetOptions(tr.pid, options); err != nil {
		return err
	}
	watchdog := time.AfterFunc(hang, func() { tr.hung.Store(true); unix.Kill(tr.pid, unix.SIGKILL) })
	defer watchdog.Stop()
	tr.threads[tr.pid] = &thread{}
	err = unix.PtraceCont(tr.pid, 0)
	for err == nil {
		err = tr.step()
	}
	if errors.Is(err, unix.ECHILD) { // all have ended
		return nil
	}
	return err
}

// step waits for something to happen to a thread, and lets it go on.
func (tr *tracer) step() error {
	var status unix.WaitStatus
	tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return err
	case status.Exited() || status.Signaled():
		delete(tr.threads, tid)
		if tid == tr.pid {
			tr.status = status
			for other := range tr.threads { // a daemon that goes on for a moment
				unix.Kill(other, unix.SIGKILL)
			}
		}
		return nil
	}
	th := tr.threads[tid]
	if th == nil { // a new one, which begins by stopping
		tr.threads[tid] = &thread{foreign: processOf(tid) != tr.pid}
		return gone(unix.PtraceCont(tid, 0))
	}
	signal := 0
	switch s := status.StopSignal(); {
	case th.foreign && s != unix.SIGTRAP:
		signal = int(s)
	case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP && !th.foreign:
		err = tr.enter(tid, th)
	case s == unix.SIGTRAP|0x80:
		err = tr.leave(tid, th)
	case s != unix.SIGTRAP: // by which ptrace tells of a new thread or program
		signal = int(s)
	}
	if gone(err) != nil {
		return err
	}
	if th.inside != nil {
		return gone(unix.PtraceSyscall(tid, signal)) // until the end of the call
	}
	return gone(unix.PtraceCont(tid, signal))
}

// gone passes over that a thread is not there any more: it was killed.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// processOf returns the process that a thread belongs to.
func processOf(tid int) (pid int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "Tgid: %d", &pid); n == 1 {
			break
		}
	}
	return pid
}

// enter is where a thread is about to make a call.
func (tr *tracer) enter(tid int, th *thread) error {
	th.inside = nil
	stop, err := callInfo(tid)
	if err != nil {
		return err
	}
	nr, args := stop.data[0], [6]uint64(stop.data[1:7])
	if errno, lacks := tr.Lacks[nr]; lacks {
		th.inside = &visit{call: -1, answer: errno, skipped: true}
		return skipCall(tid)
	}
	shapes := shapeSets[tr.Stops]
	if tr.Stops == "serving" {
		if heard, err := tr.listen(tid, th, nr, args); heard || err != nil {
			return err
		}
		shapes = changing
	}
	c, counts := look(tid, shapes, tr.Dir, nr, args)
	if !counts {
		return nil
	}
	if strings.HasPrefix(c.Name, "rename") {
		if text, err := os.ReadFile(filepath.Join(tr.Dir, c.Path)); err == nil {
			c.Bytes = newContent(text)
		}
	}
	tr.clock++
	c.Enter = tr.clock
	c.Errno = unix.EINTR // unless it comes to an end
	th.inside = &visit{call: len(tr.calls)}
	tr.calls = append(tr.calls, c)
	if len(tr.calls) != tr.Fault.At {
		return nil
	}
	tr.hit = &c
	if tr.Fault.Kill {
		return unix.Kill(tr.pid, unix.SIGKILL)
	}
	th.inside.answer = tr.Fault.Errno
	if tr.Fault.After {
		return nil
	}
	th.inside.skipped = true
	return skipCall(tid)
}

// listen writes down what is said over sockets, and reports whether the call is
// about one or otherwise of no interest.
func (tr *tracer) listen(tid int, th *thread, nr uint64, args [6]uint64) (heard bool, err error) {
	if nr != unix.SYS_READ && nr != unix.SYS_WRITE {
		return false, nil
	}
	socket := socketOf(tid, args[0])
	switch {
	case socket == "":
		return nr == unix.SYS_READ, nil
	case nr == unix.SYS_READ:
		th.inside = &visit{call: -1, hears: &said{socket: socket}, into: args[1]}
		return true, nil
	}
	tr.clock++
	s := said{socket: socket, out: true, at: tr.clock}
	s.text, err = readBytes(tid, args[1], int(args[2]))
	tr.talk = append(tr.talk, s)
	return true, err
}

// leave is where a thread comes out of a call.
func (tr *tracer) leave(tid int, th *thread) error {
	v := th.inside
	if th.inside = nil; v == nil {
		return nil
	}
	stop, err := callInfo(tid)
	if err != nil {
		return err
	}
	if n := int64(stop.data[0]); v.hears != nil && n > 0 {
		v.hears.at = tr.clock
		if v.hears.text, err = readBytes(tid, v.into, int(n)); err != nil {
			return err
		}
		tr.talk = append(tr.talk, *v.hears)
	}
	if v.call >= 0 {
		tr.clock++
		c := &tr.calls[v.call]
		c.Exit, c.Errno = tr.clock, 0
		if result := int64(stop.data[0]); v.skipped {
			c.Errno = v.answer
		} else if result < 0 {
			c.Errno = unix.Errno(-result)
		}
	}
	if v.answer == 0 {
		return nil
	}
	return setError(tid, v.answer)
}

// callStop is struct ptrace_syscall_info of linux/ptrace.h.
type callStop struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	data [8]uint64 // at a beginning: number, then arguments; at an end: the result
}

func callInfo(tid int) (info callStop, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return info, errno
	}
	return info, nil
}

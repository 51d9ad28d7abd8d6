//go:build linux && real

package crash

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// stopAt is the variable of the environment that makes this program a starter
// of another one: it names the calls that the other is to be stopped at.
const stopAt = "NIXSTATIC_TEST_STOP_AT"

// shapeSets are its values.
var shapeSets = map[string]map[uint64]shape{"changing": changing, "reading": reading, "serving": serving}

func TestMain(m *testing.M) {
	if set := os.Getenv(stopAt); set != "" {
		fmt.Fprintln(os.Stderr, "start under a filter:", startFiltered(shapeSets[set]))
		os.Exit(1)
	}
	startTracers()
	nixtest.Main(m)
}

// startFiltered becomes the program of the arguments, with a seccomp filter
// that calls for the tracer at the calls given, and only at these: to stop at
// each futex of a Go program would take ten times as long.
func startFiltered(shapes map[uint64]shape) error {
	const numberOffset = 0 // of the call's number in struct seccomp_data
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: numberOffset}}
	for nr := range shapes {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: uint32(nr)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}

	runtime.LockOSThread() // a filter is a thread's, and so is exec
	// Without new privileges anyone may have a filter.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	os.Unsetenv(stopAt)
	args, env := os.Args[1:], os.Environ()
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return errno
	}
	return syscall.Exec(args[0], args, env)
}

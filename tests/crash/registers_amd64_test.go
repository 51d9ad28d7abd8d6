//go:build real

package crash

import "golang.org/x/sys/unix"

// skipCall makes the call that a thread is about to make one that does not
// exist, so that nothing happens.
func skipCall(tid int) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Orig_rax = ^uint64(0)
	return unix.PtraceSetRegs(tid, &regs)
}

// setError makes the call that a thread has just made fail.
func setError(tid int, errno unix.Errno) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = uint64(-int64(errno))
	return unix.PtraceSetRegs(tid, &regs)
}

const sysNewfstatat = unix.SYS_NEWFSTATAT

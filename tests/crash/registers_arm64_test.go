//go:build real

package crash

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ntARMSystemCall is the register set that holds the number of the call alone
// (NT_ARM_SYSTEM_CALL in elf.h).
const ntARMSystemCall = 0x404

// skipCall makes the call that a thread is about to make one that does not
// exist, so that nothing happens.
func skipCall(tid int) error {
	none := int32(-1)
	set := unix.Iovec{Base: (*byte)(unsafe.Pointer(&none)), Len: uint64(unsafe.Sizeof(none))}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), ntARMSystemCall,
		uintptr(unsafe.Pointer(&set)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// setError makes the call that a thread has just made fail.
func setError(tid int, errno unix.Errno) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Regs[0] = uint64(-int64(errno))
	return unix.PtraceSetRegs(tid, &regs)
}

const sysNewfstatat = unix.SYS_FSTATAT

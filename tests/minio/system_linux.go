package minio

import "syscall"

// withUs has the server end when the test binary does, even if that is killed.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// scratch is where the drives are: in memory, if that has room for all that
// tests store. The server waits for the disk after every object.
func scratch() string {
	const memory, room = "/dev/shm", 4 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(memory, &st); err != nil || uint64(st.Bsize)*st.Bavail < room {
		return ""
	}
	return memory
}

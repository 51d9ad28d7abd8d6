package gitea

import "syscall"

// withUs has the server end when the test binary does, even if that is killed.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

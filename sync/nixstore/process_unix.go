//go:build unix

package nixstore

import (
	"os/exec"
	"syscall"
)

// ownProcessGroup keeps an interrupt typed at the terminal from the daemon: we
// decide when we no longer need the roots that it holds.
func ownProcessGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

//go:build !linux

package gitea

import "syscall"

func withUs() *syscall.SysProcAttr { return nil }

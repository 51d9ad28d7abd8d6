//go:build !linux

package minio

import "syscall"

func withUs() *syscall.SysProcAttr { return nil }

func scratch() string { return "" }

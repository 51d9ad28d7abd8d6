//go:build darwin || freebsd || linux || netbsd || openbsd

package nar

import "golang.org/x/sys/unix"

// The calls of Dump, begun again when a signal interrupts them: the Go runtime
// sends signals to itself, and network file systems let them through.

func openat(dirfd int, name string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func fstat(fd int, st *unix.Stat_t) (err error) {
	for {
		if err = unix.Fstat(fd, st); err != unix.EINTR {
			return err
		}
	}
}

func fstatat(dirfd int, name string, st *unix.Stat_t) (err error) {
	for {
		if err = unix.Fstatat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW); err != unix.EINTR {
			return err
		}
	}
}

func read(fd int, p []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, p); err != unix.EINTR {
			return n, err
		}
	}
}

func readlinkat(dirfd int, name string, p []byte) (n int, err error) {
	for {
		if n, err = unix.Readlinkat(dirfd, name, p); err != unix.EINTR {
			return n, err
		}
	}
}

//go:build darwin || freebsd || linux || netbsd || openbsd

package nar

import "golang.org/x/sys/unix"

// An entry is a name in a directory with the kind of what it names.
type entry struct {
	name string
	kind kind
}

type kind uint8

const (
	unknown kind = iota
	regular
	directory
	symlink
	fifo
	socket
	device
)

func (k kind) String() string {
	return [...]string{"a file of unknown type", "a regular file", "a directory",
		"a symbolic link", "a named pipe", "a socket", "a device"}[k]
}

func kindOf(mode uint32) kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return regular
	case unix.S_IFDIR:
		return directory
	case unix.S_IFLNK:
		return symlink
	case unix.S_IFIFO:
		return fifo
	case unix.S_IFSOCK:
		return socket
	case unix.S_IFCHR, unix.S_IFBLK:
		return device
	}
	return unknown
}

//go:build darwin || freebsd || netbsd || openbsd

package nar

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// readDir returns the entries of an open directory but "." and "..", unsorted.
func (d *dumper) readDir(fd int) ([]entry, error) {
	own, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY) // ReadDir's file owns its descriptor
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(own), ".")
	defer f.Close()
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(list))
	for i, e := range list {
		entries[i] = entry{e.Name(), kindOfType(e.Type())}
	}
	return entries, nil
}

func kindOfType(t fs.FileMode) kind {
	switch {
	case t.IsRegular():
		return regular
	case t.IsDir():
		return directory
	case t&fs.ModeSymlink != 0:
		return symlink
	case t&fs.ModeNamedPipe != 0:
		return fifo
	case t&fs.ModeSocket != 0:
		return socket
	case t&fs.ModeDevice != 0:
		return device
	}
	return unknown
}

package nar

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// readDir returns the entries of an open directory but "." and "..", unsorted. A
// single system call tells names and kinds (getdents64(2)).
func (d *dumper) readDir(fd int) ([]entry, error) {
	var entries []entry
	for {
		n, err := unix.Getdents(fd, d.dirents)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return entries, nil
		}
		if entries, err = appendEntries(entries, d.dirents[:n]); err != nil {
			return nil, err
		}
	}
}

// appendEntries appends the entries of a buffer full of struct linux_dirent64:
//
//	ino64_t d_ino; off64_t d_off; unsigned short d_reclen; unsigned char d_type; char d_name[];
func appendEntries(entries []entry, buf []byte) ([]entry, error) {
	const inoAt, lenAt, typeAt, nameAt = 0, 16, 18, 19
	for len(buf) > 0 {
		if len(buf) <= nameAt {
			return nil, errDirent
		}
		size := int(binary.NativeEndian.Uint16(buf[lenAt:]))
		if size <= nameAt || size > len(buf) {
			return nil, errDirent
		}
		rec := buf[:size]
		buf = buf[size:]
		end := bytes.IndexByte(rec[nameAt:], 0)
		if end < 0 {
			return nil, errDirent
		}
		if binary.NativeEndian.Uint64(rec[inoAt:]) == 0 { // deleted
			continue
		}
		switch name := rec[nameAt : nameAt+end]; string(name) {
		case ".", "..":
		default:
			entries = append(entries, entry{string(name), kindOfDirent(rec[typeAt])})
		}
	}
	return entries, nil
}

var errDirent = errors.New("kernel returned a malformed directory entry")

func kindOfDirent(t byte) kind {
	switch t {
	case unix.DT_REG:
		return regular
	case unix.DT_DIR:
		return directory
	case unix.DT_LNK:
		return symlink
	case unix.DT_FIFO:
		return fifo
	case unix.DT_SOCK:
		return socket
	case unix.DT_CHR, unix.DT_BLK:
		return device
	}
	return unknown
}

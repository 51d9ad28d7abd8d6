package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// renameNew moves a file unless the new name is taken: fs.ErrExist then. It uses
// a hard link on file systems without an atomic call for that, and returns
// errCannotRenameNew on those without either.
func renameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := uninterrupted(func() error {
		return unix.Renameat2(int(fromDir.Fd()), from, int(toDir.Fd()), to, unix.RENAME_NOREPLACE)
	})
	// EPERM is what some sandboxes say of calls that they do not know.
	if Lacks(err) || err == unix.EPERM {
		return linkNew(fromDir, from, toDir, to)
	}
	return named("rename", to, err)
}

// startWriteback sets a part of a file on its way to disk and waits for nothing.
// Nothing depends on it.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// isFUSE reports whether a program on this machine is the file system. Those
// written with bazil.org/fuse, such as rclone, say EIO of what they lack.
func isFUSE(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == unix.FUSE_SUPER_MAGIC
}

// flushAll brings all of the file system to disk that a file is on.
func flushAll(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// lookAt describes a name in a directory. The library takes as long again for it, of
// which a listing of a million files has much.
func lookAt(_ *os.Root, dir *os.File, name string) seen {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return seen{err: named("lstat", name, err)}
	}
	modTime := time.Unix(st.Mtim.Unix())
	return seen{info: Info{Size: st.Size, ModTime: modTime, ETag: fileVersion(st.Ino, st.Size, modTime, st.Ctim.Nano())}, file: st.Mode&unix.S_IFMT == unix.S_IFREG}
}

// changeTime returns when the kernel last saw the file or its inode change.
func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

// linkOpen gives a file that is open a further name, unless that is taken.
func linkOpen(f *os.File, toDir *os.File, to string) error {
	return named("link", to, uninterrupted(func() error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), int(toDir.Fd()), to, unix.AT_SYMLINK_FOLLOW)
	}))
}

// A nameReader reads the names in a directory. The library makes each of them a string,
// and reads 8 KiB at once.
type nameReader struct {
	dir *os.File
	buf []byte
}

// next tells the next of the names, in no order; told may not keep them. The error is
// io.EOF behind the last.
func (r *nameReader) next(told func(name []byte)) error {
	if r.buf == nil {
		r.buf = make([]byte, 256<<10)
	}
	var n int
	err := uninterrupted(func() (err error) {
		n, err = unix.ReadDirent(int(r.dir.Fd()), r.buf)
		return err
	})
	if err != nil {
		return named("read", ".", err)
	}
	if n <= 0 {
		return io.EOF
	}
	// getdents64(2): inode, offset, the length of all, a type, and the name before a zero.
	const length, name = 16, 19
	for rest := r.buf[:n]; len(rest) > 0; {
		if len(rest) < name {
			return errShortEntry
		}
		size := int(binary.NativeEndian.Uint16(rest[length:]))
		if size < name || size > len(rest) {
			return errShortEntry
		}
		text, _, _ := bytes.Cut(rest[name:size], []byte{0})
		if inode := binary.NativeEndian.Uint64(rest); inode != 0 { // 0 is a name that was removed
			told(text)
		}
		rest = rest[size:]
	}
	return nil
}

var errShortEntry = errors.New("the kernel describes a directory that makes no sense")

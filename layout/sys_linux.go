package layout

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// renameNew moves a file unless the new name is taken: fs.ErrExist then. One
// atomic step where the file system can do it, a hard link where not.
func renameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := unix.Renameat2(int(fromDir.Fd()), from, int(toDir.Fd()), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return linkNew(fromDir, from, toDir, to)
	}
	return named("rename", to, err)
}

// startWriteback sets a part of a file on its way to disk and waits for nothing.
// Nothing depends on it.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// changeTime returns when the kernel last saw the file or its inode change.
func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

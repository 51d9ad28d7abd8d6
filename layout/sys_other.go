//go:build !linux

package layout

import (
	"os"
	"syscall"
)

func renameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	return linkNew(fromDir, from, toDir, to)
}

func startWriteback(*os.File, int64, int64) {}

func isFUSE(*os.File) bool { return false }

func flushAll(*os.File) error { return syscall.ENOSYS }

// lookAt describes what a name in a directory stands for.
func lookAt(in *os.Root, _ *os.File, name string) seen {
	st, err := in.Lstat(name)
	if err != nil {
		return seen{err: err}
	}
	return seen{info: infoOf("", st), file: st.Mode().IsRegular()}
}

// changeTime is not told under one name by all systems: the time of modification
// has to do.
func changeTime(*syscall.Stat_t) int64 { return 0 }

// linkOpen is for Linux alone: elsewhere a link is made of what a name stands for.
func linkOpen(*os.File, *os.File, string) error { return syscall.ENOSYS }

// A nameReader reads the names in a directory.
type nameReader struct{ dir *os.File }

// next tells the next of the names, in no order. The error is io.EOF behind the last.
func (r *nameReader) next(told func(name []byte)) error {
	names, err := r.dir.Readdirnames(4096)
	for _, name := range names {
		told([]byte(name))
	}
	return err
}

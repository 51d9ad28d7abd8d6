package layout

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// rename moves a file from one open directory to another, over what has the
// new name.
func rename(fromDir *os.File, from string, toDir *os.File, to string) error {
	return named("rename", to, unix.Renameat(int(fromDir.Fd()), from, int(toDir.Fd()), to))
}

// linkNew gives the file a second name unless that is taken, and drops the
// first. Dying in between leaves the file in staging as well, where it is swept.
func linkNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	if err := unix.Linkat(int(fromDir.Fd()), from, int(toDir.Fd()), to, 0); err != nil {
		return named("link", to, err)
	}
	return named("unlink", from, unix.Unlinkat(int(fromDir.Fd()), from, 0))
}

// flock takes an exclusive lock that ends with the file or the process.
func flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	return flockAs(f, how)
}

// flockAs is flock(2). A signal does not end it.
func flockAs(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

func named(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

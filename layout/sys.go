package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Some file systems lack calls that a tree needs, and they say so with various
// errors. The functions below then take another way that is as safe. If there is
// none, the error is an UnableError, which names what is lacking.

// An UnableError says that a file system cannot do something at all: to try again,
// or as another user, does not help.
type UnableError struct {
	What string // the operation that the file system lacks
	Err  error
}

func (e *UnableError) Error() string {
	return fmt.Sprintf("this file system cannot %s: %v", e.What, e.Err)
}

func (e *UnableError) Unwrap() error { return e.Err }

// lacking are the errors by which file systems and kernels say that they do not
// have a call. Each of these has other meanings for some calls.
var lacking = []error{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.EOPNOTSUPP}

// isOneOf reports whether err is one of some errors.
func isOneOf(err error, any ...error) bool {
	return slices.ContainsFunc(any, func(e error) bool { return errors.Is(err, e) })
}

// Lacks reports whether err says that the file system or the kernel does not have
// a call.
func Lacks(err error) bool { return isOneOf(err, lacking...) }

// unable makes an UnableError of an error by which a file system says that it
// lacks a call, and returns every other error as it is.
func unable(what string, err error, more ...error) error {
	if Lacks(err) || isOneOf(err, more...) {
		return &UnableError{what, err}
	}
	return err
}

// cannotWrite is for the error of making a file to write and read back.
func cannotWrite(err error) error { return unable("hold a file that is written and read back", err) }

// FlushFile brings the bytes of a file to disk.
func FlushFile(f *os.File) error {
	err := f.Sync()
	if Lacks(err) {
		return unable("bring files to disk", flushAll(f), unix.EBADF, unix.EPERM, unix.EACCES)
	}
	return err
}

// FlushDir brings the names in a directory to disk. Many network file systems do
// not know that of directories, some because the server does it at once. If the
// kernel does not bring all to disk either, a power cut may take names along, out
// of their order: nothing that we do could change that.
func FlushDir(f *os.File) error {
	noDir := append([]error{unix.EBADF, unix.EACCES, unix.EPERM, unix.EISDIR}, lacking...)
	err := f.Sync()
	if !isOneOf(err, noDir...) {
		return err
	}
	if err := flushAll(f); !isOneOf(err, noDir...) {
		return err
	}
	return nil
}

// rename moves a file from one open directory to another, over what has the
// new name.
func rename(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := uninterrupted(func() error { return unix.Renameat(int(fromDir.Fd()), from, int(toDir.Fd()), to) })
	if err == unix.ENOENT && refusesName(fromDir, from, toDir) {
		err = &UnableError{"give a file this name", err}
	}
	return named("rename", to, unable("give a file this name", err))
}

// refusesName reports whether it is the new name that is "not there": some file
// systems say so of names with characters that they do not take.
func refusesName(fromDir *os.File, from string, toDir *os.File) bool {
	var to unix.Stat_t
	there, err := exists(fromDir, from)
	return there && err == nil && unix.Fstat(int(toDir.Fd()), &to) == nil && to.Nlink > 0
}

// errCannotRenameNew says that a file system has no step that gives a file a name
// unless it is taken.
var errCannotRenameNew = errors.New("neither a rename without replacing nor a hard link is possible")

// linkNew gives the file a second name unless that is taken, and drops the
// first. Dying in between leaves the file in staging as well, where it is swept.
func linkNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	err := uninterrupted(func() error { return unix.Linkat(int(fromDir.Fd()), from, int(toDir.Fd()), to, 0) })
	switch {
	case Lacks(err), isOneOf(err, unix.EPERM, unix.EACCES, unix.EMLINK), err == unix.EIO && isFUSE(toDir):
		return errCannotRenameNew // a rename will tell if it is for another reason
	case err != nil:
		return named("link", to, err)
	}
	return named("unlink", from, uninterrupted(func() error { return unix.Unlinkat(int(fromDir.Fd()), from, 0) }))
}

// exists reports whether a name in a directory is taken.
func exists(dir *os.File, name string) (bool, error) {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil, named("stat", name, err)
}

// Flock takes an exclusive lock on a file that ends with the file or the process.
// If it is not to wait, and the file is locked, the error is EWOULDBLOCK.
func Flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	return flockAs(f, how)
}

// flockAs is flock(2).
func flockAs(f *os.File, how int) error {
	err := uninterrupted(func() error { return unix.Flock(int(f.Fd()), how) })
	return named("lock", f.Name(), unable("lock files", err, unix.ENOLCK, unix.EBADF))
}

// uninterrupted makes a call again that a signal has interrupted, as happens on
// some network file systems.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
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

package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// renameNew renames a file unless the new name is taken: fs.ErrExist then.
// One atomic step where the file system can do it, a hard link where not.
func renameNew(root *os.Root, from, to string) error {
	src, err := root.Open(filepath.Dir(from))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := root.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dst.Close()
	err = unix.Renameat2(int(src.Fd()), filepath.Base(from), int(dst.Fd()), filepath.Base(to), unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return linkNew(root, from, to)
	}
	return &fs.PathError{Op: "rename", Path: to, Err: err}
}

package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"
)

// CopyObject gives a file a second name, with the guarantees of Copier. It links what
// is open, and not what the name stands for by then. The caller copies a file
// that cannot have two names.
func (d *Dir) CopyObject(ctx context.Context, from Info, to Key) error {
	body, info, err := d.Get(ctx, from.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	if info.ETag != from.ETag {
		return keyError("copy", from.Key, ErrChanged)
	}
	folder, err := d.folder(path.Dir(string(to)))
	if err != nil {
		return keyError("put", to, err)
	}
	defer d.leave(folder)
	file := body.(*os.File)
	if err := FlushFile(file); err != nil { // another program may have written it
		return keyError("copy", from.Key, err)
	}
	if err := linkOpen(file, folder.File, path.Base(string(to))); err != nil {
		if cannotLink(err) || errors.Is(err, syscall.EIO) && isFUSE(folder.File) {
			err = errors.ErrUnsupported
		}
		return keyError("put", to, err)
	}
	if err := FlushDir(folder.File); err != nil {
		return fmt.Errorf("put into %s: %w", folder.path, err)
	}
	return nil
}

// cannotLink tells the errors of files that cannot have a second name: of another
// file system, of another owner, with too many names, or where there are no links.
func cannotLink(err error) bool {
	for _, e := range []error{syscall.EXDEV, syscall.EPERM, syscall.EACCES, syscall.EMLINK, syscall.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return Lacks(err)
}

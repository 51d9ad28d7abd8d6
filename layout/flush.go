package layout

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// folders are the directories that keys lie in, but for those of single
// derivations below buildTraces.
var folders = []string{".", "nar", "log", "debuginfo", "realisations", buildTraces,
	PrivatePrefix, HeldPrefix, provisionPrefix}

const buildTraces = "build-trace-v2"

// Flush brings files and the directories above them to disk. It costs next to
// nothing where they are there already.
func (d *Dir) Flush(ctx context.Context, keys ...Key) error {
	if _, err := d.open(false); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	root, err := d.open(true) // which makes the tree's own directory last
	if err != nil {
		return err
	}
	dirs := folders
	if len(keys) == 0 {
		traces, err := readNames(root, buildTraces)
		if err != nil && !errors.Is(absent(err), fs.ErrNotExist) {
			return err
		}
		for _, name := range traces {
			dirs = append(dirs[:len(dirs):len(dirs)], path.Join(buildTraces, name))
		}
	} else {
		dirs = nil
	}
	for _, key := range keys {
		if err := syncPath(root, string(key)); err != nil {
			return keyError("flush", key, err)
		}
		for dir := string(key); dir != "."; {
			dir = path.Dir(dir)
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := syncPath(root, dir); err != nil {
			return keyError("flush", Key(dir), err)
		}
	}
	return nil
}

// syncPath brings a file or a directory to disk if it is there.
func syncPath(root *os.Root, name string) error {
	// Without O_NONBLOCK a planted named pipe would hold us for ever.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(absent(err), fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); !errors.Is(err, syscall.EINVAL) { // what cannot be synced, such as a pipe, is no object
		return err
	}
	return nil
}

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
	if _, err := d.open(true); err != nil { // which makes the tree's own directory last
		return err
	}
	dirs := folders
	if len(keys) == 0 {
		var traces []string
		err := d.within(buildTraces, func(root *os.Root, name string) (err error) {
			traces, err = readNames(root, name)
			return err
		})
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
		if err := d.flushPath(string(key)); err != nil {
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
		if err := d.flushPath(dir); err != nil {
			return keyError("flush", Key(dir), err)
		}
	}
	return nil
}

// flushPath brings a file or a directory to disk if it is there.
func (d *Dir) flushPath(name string) error {
	err := d.within(name, func(root *os.Root, name string) error {
		// Without O_NONBLOCK a planted named pipe would hold us for ever.
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		switch {
		case err != nil:
			return err
		case st.IsDir():
			return FlushDir(f)
		case st.Mode().IsRegular():
			return FlushFile(f)
		}
		return nil // a pipe, say, is not an object
	})
	if errors.Is(absent(err), fs.ErrNotExist) {
		return nil
	}
	return err
}

package layout

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// A folder is an open directory that keys lie in.
type folder struct {
	*os.File
	path string // below the tree's directory
	// Dir.making guards what is known of its file system.
	near   bool     // it is that of the tree's staging folder
	beside *staging // of files for this folder alone, where it is another
}

// folder returns the open directory of keys, which is there durably, and made if
// it was not. It is kept open for the next batch, unless the directory of that
// name is another by then: someone may tidy the tree under us.
func (d *Dir) folder(dir string) (*folder, error) {
	d.making.Lock()
	defer d.making.Unlock()
	return d.makeFolder(dir)
}

// makeFolder is folder for a caller that holds d.making.
func (d *Dir) makeFolder(dir string) (*folder, error) {
	have := d.folders[dir]
	now, err := d.stat(dir)
	if have != nil && err == nil {
		var then fs.FileInfo
		if then, err = have.Stat(); err == nil && os.SameFile(now, then) {
			return have, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = d.within(dir, func(root *os.Root, name string) error { return makeAll(root, name) })
		if err != nil {
			return nil, err
		}
	}
	// The maker of a directory that is there may have died before it did this.
	for up := dir; up != "."; {
		up = path.Dir(up)
		if err := d.within(up, flushIn); err != nil {
			return nil, err
		}
	}
	f := &folder{path: dir}
	err = d.within(dir, func(root *os.Root, name string) (err error) {
		f.File, err = root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.folders[dir] = f // the one before is closed when no batch uses it any more
	return f, nil
}

// flushIn brings the names in a directory to disk.
func flushIn(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return FlushDir(f)
}

// sameDevice reports whether two files are on one file system. A rename between
// them may fail with EXDEV all the same, if one is below a mount.
func sameDevice(a, b *os.File) (bool, error) {
	var dev [2]uint64
	for i, f := range []*os.File{a, b} {
		st, err := f.Stat()
		if err != nil {
			return false, err
		}
		dev[i] = uint64(st.Sys().(*syscall.Stat_t).Dev)
	}
	return dev[0] == dev[1], nil
}

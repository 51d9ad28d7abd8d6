package layout

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// mostFolders is how many folders are open that no batch uses: a tree has one for each
// run, and for each derivation with outputs by content.
const mostFolders = 24

// A folder is an open directory that keys lie in.
type folder struct {
	*os.File
	path string // below the tree's directory
	// Dir.making guards the rest.
	uses   int      // batches that use it now
	near   bool     // its file system is that of the tree's staging folder
	beside *staging // of files for this folder alone, where it is another
}

// folder returns the open directory of keys, which is there durably, and made if
// it was not. It is kept open for the next batch, unless the directory of that
// name is another by then: someone may tidy the tree under us. The caller leaves it.
func (d *Dir) folder(dir string) (*folder, error) {
	d.making.Lock()
	defer d.making.Unlock()
	f, err := d.makeFolder(dir)
	if err != nil {
		return nil, err
	}
	f.uses++
	return f, nil
}

// leave ends the use of a folder, nil for none. It is closed if it is not kept open any more.
func (d *Dir) leave(f *folder) {
	if f == nil {
		return
	}
	d.making.Lock()
	defer d.making.Unlock()
	if f.uses--; f.uses == 0 && d.folders[f.path] != f {
		f.Close()
	}
}

// forget keeps a folder open no longer than batches use it. The caller holds d.making.
func (d *Dir) forget(f *folder) {
	delete(d.folders, f.path)
	d.lately = slices.DeleteFunc(d.lately, func(dir string) bool { return dir == f.path })
	if f.uses == 0 {
		f.Close()
	}
}

// keep keeps a folder open, in the place of the one that was made or asked for the
// longest time ago. The staging folder of one beside it would go with it: such a folder
// stays. The caller holds d.making.
func (d *Dir) keep(f *folder) {
	if other := d.folders[f.path]; other != nil && other != f {
		d.forget(other)
	}
	d.folders[f.path] = f
	d.lately = append(slices.DeleteFunc(d.lately, func(dir string) bool { return dir == f.path }), f.path)
	for _, dir := range d.lately[:max(0, len(d.lately)-mostFolders)] {
		if old := d.folders[dir]; old.beside == nil {
			d.forget(old)
			return
		}
	}
}

// makeFolder returns a folder for a caller that holds d.making, and uses it no longer.
func (d *Dir) makeFolder(dir string) (*folder, error) {
	have := d.folders[dir]
	now, err := d.stat(dir)
	if have != nil && err == nil {
		var then fs.FileInfo
		if then, err = have.Stat(); err == nil && os.SameFile(now, then) {
			d.keep(have)
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
	d.keep(f)
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

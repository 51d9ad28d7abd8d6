package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dir is a tree in a directory of a local file system. Keys are paths below
// it. Several processes may use one directory at the same time.
//
// A symbolic link leads it out of the directory in one case only, which links.go
// tells: a folder at the top that a trusted user has made a link. Folders may be
// file systems of their own. Nothing is created before the first write.
type Dir struct {
	path string

	mu      sync.Mutex
	root    *os.Root
	top     *os.File // the same directory; nil if it may not be opened for reading
	flushed bool     // the directory itself will be there after a power cut

	making  sync.Mutex
	staging *staging           // this process's folder of unfinished files
	folders map[string]*folder // directories that were written to, open
	lately  []string           // those, the one used longest ago first
	all     []*staging         // to be closed
}

// ErrNotDirectory says that there is something else in the place of a tree. It is not
// the ENOTDIR of a key, which is absence.
var ErrNotDirectory = errors.New("not a directory")

// OpenDir returns the tree at path, which need not exist before the first Put.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	d := &Dir{path: abs, folders: map[string]*folder{}}
	if _, err := d.open(false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return d, nil
}

// Path returns the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// Traits says that a directory is at hand.
func (d *Dir) Traits() Traits {
	return Traits{Local: true, Path: d.path, Batches: true, Folders: true}
}

// Close releases the directory and removes this process's unfinished files.
func (d *Dir) Close() error {
	d.making.Lock()
	defer d.making.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, s := range d.all {
		errs = append(errs, s.close())
	}
	d.staging, d.all = nil, nil
	for dir, f := range d.folders {
		f.Close()
		delete(d.folders, dir)
	}
	d.lately = nil
	if d.root != nil {
		errs = append(errs, d.root.Close())
		d.root = nil
	}
	if d.top != nil {
		errs = append(errs, d.top.Close())
		d.top = nil
	}
	return errors.Join(errs...)
}

// open returns the handle on the directory, and makes the directory if wanted.
func (d *Dir) open(create bool) (*os.Root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if create && !d.flushed {
		if err := makeDir(d.path); err != nil {
			return nil, err
		}
		d.flushed = true
	}
	if d.root != nil {
		return d.root, nil
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		if st, statErr := os.Stat(d.path); statErr == nil && !st.IsDir() {
			err = &fs.PathError{Op: "open", Path: d.path, Err: ErrNotDirectory}
		}
		return nil, err
	}
	d.root = root
	d.top, _ = root.Open(".")
	return root, nil
}

// Get opens a file for reading.
func (d *Dir) Get(ctx context.Context, key Key) (io.ReadCloser, Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, Info{}, err
	}
	var f *os.File
	err := d.within(string(key), func(root *os.Root, name string) (err error) {
		// Without O_NONBLOCK a planted named pipe would hold us for ever.
		f, err = root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, Info{}, keyError("get", key, absent(err))
	}
	st, err := f.Stat()
	if err == nil {
		err = regular(st)
	}
	if err != nil {
		f.Close()
		return nil, Info{}, keyError("get", key, err)
	}
	return f, infoOf(key, st), nil
}

// Stat describes a file.
func (d *Dir) Stat(ctx context.Context, key Key) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	if info, ok := d.statTop(key); ok {
		return info, nil
	}
	st, err := d.stat(string(key))
	if err == nil {
		err = regular(st)
	}
	if err != nil {
		return Info{}, keyError("stat", key, absent(err))
	}
	return infoOf(key, st), nil
}

// statTop describes a plain file at the top of the tree, as narinfos are, of which
// readers ask for thousands a second. It leaves all else to stat.
func (d *Dir) statTop(key Key) (Info, bool) {
	if strings.Contains(string(key), "/") {
		return Info{}, false
	}
	root, err := d.open(false)
	if err != nil {
		return Info{}, false
	}
	d.mu.Lock()
	top := d.top
	d.mu.Unlock()
	if top == nil {
		return Info{}, false
	}
	found := lookAt(root, top, string(key))
	found.info.Key = key
	return found.info, found.err == nil && found.file
}

// stat describes what a name below the tree's directory stands for.
func (d *Dir) stat(name string) (st fs.FileInfo, err error) {
	err = d.within(name, func(root *os.Root, name string) error {
		st, err = root.Stat(name)
		return err
	})
	return st, err
}

// Delete removes a file, durably.
func (d *Dir) Delete(ctx context.Context, key Key) error {
	return d.DeleteBatch(ctx, []Key{key})
}

// DeleteBatch removes groups of files with the guarantees of BatchDeleter. Each
// directory is synced once per group.
func (d *Dir) DeleteBatch(ctx context.Context, groups ...[]Key) error {
	_, err := d.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	for _, group := range groups {
		if err := d.deleteGroup(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) deleteGroup(ctx context.Context, keys []Key) error {
	dirs := map[string]bool{}
	var unlock func()
	defer func() {
		if unlock != nil {
			unlock()
		}
	}()
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := d.within(string(key), func(root *os.Root, name string) error {
			st, err := root.Lstat(name)
			if err != nil || st.IsDir() {
				return err // of a directory's name there is no object, only of longer ones
			}
			if !key.Kind().Immutable() && unlock == nil {
				// Between the look and the rename of a Put with IfMatch, the object
				// must not go: it would come back.
				if unlock, err = d.lock(); err != nil {
					return err
				}
			}
			if err := root.Remove(name); err != nil {
				return err
			}
			dirs[path.Dir(string(key))] = true
			return nil
		})
		if err != nil && !errors.Is(absent(err), fs.ErrNotExist) {
			return keyError("delete", key, err)
		}
	}
	// Dying before this point may leave some of the files, after a power cut any.
	for dir := range dirs {
		if err := d.within(dir, flushIn); err != nil {
			return fmt.Errorf("delete from %s: %w", dir, err)
		}
	}
	return nil
}

func infoOf(key Key, st fs.FileInfo) Info {
	return Info{Key: key, Size: st.Size(), ModTime: st.ModTime(), ETag: FileVersion(st)}
}

// FileVersion names a version of a file by its inode, its size and two times; it
// is the ETag of an object in a Dir. Every Put makes a new inode. An edit in place
// changes the time of modification, which programs set back to a constant in
// stores, images and reproducible archives, and the time of change, which the
// kernel alone sets.
func FileVersion(st fs.FileInfo) string {
	ino, changed := uint64(0), int64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		ino, changed = uint64(sys.Ino), changeTime(sys)
	}
	return fileVersion(ino, st.Size(), st.ModTime(), changed)
}

func fileVersion(ino uint64, size int64, modified time.Time, changed int64) string {
	b := make([]byte, 0, 64)
	b = append(strconv.AppendUint(b, ino, 16), '-')
	b = append(strconv.AppendInt(b, size, 16), '-')
	b = append(strconv.AppendInt(b, modified.UnixNano(), 16), '-')
	return string(strconv.AppendInt(b, changed, 16))
}

// regular refuses directories and special files in the place of an object.
func regular(st fs.FileInfo) error {
	switch {
	case st.Mode().IsRegular():
		return nil
	case st.IsDir():
		return fs.ErrNotExist // there is no object of that name, only longer ones
	}
	return fmt.Errorf("not a regular file but %s", st.Mode().Type())
}

// absent turns "a component of the path is a file", and "no file can have so
// long a name", into what they mean here.
func absent(err error) error {
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		return fs.ErrNotExist
	}
	return err
}

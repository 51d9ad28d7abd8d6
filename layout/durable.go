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
	"syscall"

	"golang.org/x/sync/errgroup"
)

// syncers is how many files are brought to disk at once: a journaling file
// system commits them together, so that many at once cost little more than one.
const syncers = 16

// Put stores a file: temporary file, fsync, link or rename to the final name,
// fsync of the directory. A reader sees the old file or the new one, a crash
// leaves one of the two and perhaps a file in staging.
func (d *Dir) Put(ctx context.Context, key Key, body Body, opts PutOptions) error {
	taken, err := d.PutBatch(ctx, []Object{{key, body, opts}})
	if err == nil && len(taken) > 0 {
		return keyError("put", key, fs.ErrExist)
	}
	return err
}

// PutBatch stores groups of files with the guarantees of BatchPutter. The
// fsyncs of all bodies run side by side, and each directory is synced once per
// group.
func (d *Dir) PutBatch(ctx context.Context, groups ...[]Object) (taken []Key, err error) {
	root, err := d.open(true)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	files := make([][]*stagedFile, len(groups))
	defer func() {
		for g, group := range files {
			for i, f := range group {
				// A body that came as a file of ours is its owner's to discard:
				// its key may have been taken, and the owner may want another.
				if f != nil && groups[g][i].Body != Body(f) {
					f.Discard()
				}
			}
		}
	}()
	var all errgroup.Group
	all.SetLimit(syncers)
	for g, group := range groups {
		files[g] = make([]*stagedFile, len(group))
		for i, o := range group {
			if k := o.Key.Kind(); k == KindForeign {
				return nil, keyError("put", o.Key, errors.New("not a key of a binary cache"))
			}
			all.Go(func() error {
				f, err := d.stage(ctx, o.Body)
				files[g][i] = f
				if err != nil {
					return keyError("put", o.Key, err)
				}
				return nil
			})
		}
	}
	// Dying before this point leaves staged files alone.
	if err := all.Wait(); err != nil {
		return nil, err
	}
	for g, group := range groups {
		dirs := map[string]*os.File{}
		for i, o := range group {
			if err := ctx.Err(); err != nil {
				return taken, err
			}
			dir := path.Dir(string(o.Key))
			if dirs[dir] == nil {
				if dirs[dir], err = d.handle(root, dir); err != nil {
					return taken, keyError("put", o.Key, err)
				}
			}
			err := d.publish(root, files[g][i], dirs[dir], o)
			if o.Opts.IfAbsent && errors.Is(err, fs.ErrExist) {
				taken = append(taken, o.Key)
				continue
			}
			if err != nil {
				return taken, keyError("put", o.Key, err)
			}
		}
		// Dying before this point leaves whole files at their keys, of this
		// group and of those before it, never of a later one.
		for dir, handle := range dirs {
			if err := handle.Sync(); err != nil {
				return taken, fmt.Errorf("put into %s: %w", dir, err)
			}
		}
	}
	return taken, nil
}

// stage returns body as a durable file of this tree's staging folder: body
// itself if it is one already, otherwise a copy.
func (d *Dir) stage(ctx context.Context, body Body) (*stagedFile, error) {
	f, ok := body.(*stagedFile)
	if !ok || f.dir != d {
		file, err := d.Create()
		if err != nil {
			return nil, err
		}
		f = file.(*stagedFile)
		n, err := io.Copy(f, &contextReader{ctx, io.NewSectionReader(body, 0, body.Size())})
		if err == nil && n != body.Size() {
			err = fmt.Errorf("%d bytes of %d: %w", n, body.Size(), io.ErrUnexpectedEOF)
		}
		if err != nil {
			return f, err
		}
	}
	return f, f.sync()
}

// publish gives a durable file its final name in the directory of its key.
func (d *Dir) publish(root *os.Root, f *stagedFile, dir *os.File, o Object) error {
	base := path.Base(string(o.Key))
	switch {
	case o.Opts.IfAbsent:
		if err := renameNew(f.in.lock, f.name, dir, base); err != nil {
			return err
		}
	case o.Opts.IfMatch != "":
		unlock, err := d.lock(root)
		if err != nil {
			return err
		}
		defer unlock()
		st, err := root.Lstat(string(o.Key))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || FileVersion(st) != o.Opts.IfMatch {
			return ErrChanged
		}
		fallthrough
	default:
		if err := rename(f.in.lock, f.name, dir, base); err != nil {
			return err
		}
	}
	f.forget()
	return nil
}

// handle returns the open directory of keys, which is there durably, and made if
// it was not. It is kept open for the next batch, unless the directory of that
// name is another by then: someone may tidy the tree under us.
func (d *Dir) handle(root *os.Root, dir string) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.dirs[dir]; have != nil {
		now, err := root.Stat(dir)
		if err == nil {
			var then fs.FileInfo
			if then, err = have.Stat(); err == nil && os.SameFile(now, then) {
				return have, nil
			}
		}
		delete(d.dirs, dir) // closed when no batch uses it any more
	}
	if _, err := root.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	// One that is there may be the work of a process that died before this.
	for up := dir; up != "."; {
		up = path.Dir(up)
		if err := syncIn(root, up); err != nil {
			return nil, err
		}
	}
	f, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	d.dirs[dir] = f
	return f, nil
}

// lock serialises the writers that replace what they have read before, across
// processes.
func (d *Dir) lock(root *os.Root) (unlock func(), err error) {
	if _, err := d.handle(root, path.Clean(PrivatePrefix)); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(writeLock, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := flock(f, true); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func syncIn(root *os.Root, dir string) error {
	f, err := root.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// makeDir makes a directory, and those above it, durably. One that is there may
// have been made by a process that died before it came to that, so that it is
// synced all the same; unless that is not for us to do, or impossible there.
func makeDir(dir string) error {
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	err := os.Mkdir(dir, 0o777)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o777)
	}
	existed := errors.Is(err, fs.ErrExist)
	if err != nil && !existed {
		return err
	}
	err = syncDir(parent)
	if existed && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL)) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

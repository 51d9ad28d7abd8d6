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
		dirs := map[string]bool{}
		for i, o := range group {
			if err := ctx.Err(); err != nil {
				return taken, err
			}
			dir := path.Dir(string(o.Key))
			if err := d.mkdir(root, dir); err != nil {
				return taken, keyError("put", o.Key, err)
			}
			err := d.publish(root, files[g][i], o)
			if errors.Is(err, fs.ErrNotExist) && d.forgetDir(dir) {
				// Someone removed the directory behind our back.
				if err = d.mkdir(root, dir); err == nil {
					err = d.publish(root, files[g][i], o)
				}
			}
			if o.Opts.IfAbsent && errors.Is(err, fs.ErrExist) {
				taken = append(taken, o.Key)
				continue
			}
			if err != nil {
				return taken, keyError("put", o.Key, err)
			}
			dirs[dir] = true
		}
		// Dying before this point leaves whole files at their keys, of this
		// group and of those before it, never of a later one.
		for dir := range dirs {
			if err := syncIn(root, dir); err != nil {
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
		if err == nil {
			err = f.Done()
		}
		if err != nil {
			return f, err
		}
	}
	return f, f.sync()
}

// publish gives a durable file its final name.
func (d *Dir) publish(root *os.Root, f *stagedFile, o Object) error {
	switch {
	case o.Opts.IfAbsent:
		if err := renameNew(root, f.name, string(o.Key)); err != nil {
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
		if err != nil || etag(st) != o.Opts.IfMatch {
			return ErrChanged
		}
		fallthrough
	default:
		if err := root.Rename(f.name, string(o.Key)); err != nil {
			return err
		}
	}
	f.forget()
	return nil
}

// mkdir makes the directory of a key, durably, once per process.
func (d *Dir) mkdir(root *os.Root, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir == "." || d.made[dir] {
		return nil
	}
	if err := root.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for up := dir; up != "."; {
		up = path.Dir(up)
		if err := syncIn(root, up); err != nil {
			return err
		}
	}
	d.made[dir] = true
	return nil
}

// forgetDir makes the next mkdir look again; false if there is nothing to make.
func (d *Dir) forgetDir(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	had := d.made[dir]
	delete(d.made, dir)
	return had
}

// lock serialises the writers that replace what they have read before, across
// processes.
func (d *Dir) lock(root *os.Root) (unlock func(), err error) {
	if err := d.mkdir(root, path.Clean(PrivatePrefix)); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(PrivatePrefix+"lock", os.O_RDWR|os.O_CREATE, 0o666)
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

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// contextReader ends a copy when ctx does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

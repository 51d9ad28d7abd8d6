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
	if _, err := d.open(true); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
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
				f, err := d.stage(ctx, o)
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
		some, err := d.publishGroup(ctx, group, files[g])
		if taken = append(taken, some...); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// publishGroup gives the durable files of a group their final names, durably.
func (d *Dir) publishGroup(ctx context.Context, group []Object, files []*stagedFile) (taken []Key, err error) {
	folders := map[string]*folder{}
	defer func() {
		for _, f := range folders {
			d.leave(f)
		}
	}()
	flush := func() error {
		for dir, f := range folders {
			if err := FlushDir(f.File); err != nil {
				return fmt.Errorf("put into %s: %w", dir, err)
			}
			d.leave(f)
			delete(folders, dir)
		}
		return nil
	}
	for i, o := range group {
		if err := ctx.Err(); err != nil {
			return taken, err
		}
		dir := path.Dir(string(o.Key))
		if folders[dir] == nil && len(folders) >= mostFolders {
			if err := flush(); err != nil {
				return taken, err
			}
		}
		if folders[dir] == nil {
			if folders[dir], err = d.folder(dir); err != nil {
				return taken, keyError("put", o.Key, err)
			}
		}
		err := d.publish(ctx, files[i], folders[dir], o)
		if o.Opts.IfAbsent && errors.Is(err, fs.ErrExist) {
			taken = append(taken, o.Key)
			continue
		}
		if err != nil {
			return taken, keyError("put", o.Key, err)
		}
	}
	// Dying before this point leaves whole files at their keys, of this group and of
	// those before it, never of a later one.
	return taken, flush()
}

// stage returns the body of an object as a durable file of this tree's staging
// folder: the body itself if it is one already, otherwise a copy.
func (d *Dir) stage(ctx context.Context, o Object) (*stagedFile, error) {
	f, ok := o.Body.(*stagedFile)
	if !ok || f.dir != d {
		f, err := d.createFor(path.Dir(string(o.Key)))
		if err != nil {
			return nil, err
		}
		return f, f.copyOf(ctx, o.Body)
	}
	return f, f.sync()
}

// copyOf makes a new file a durable copy of a body.
func (f *stagedFile) copyOf(ctx context.Context, body Body) error {
	n, err := io.Copy(f, &contextReader{ctx, io.NewSectionReader(body, 0, body.Size())})
	if err == nil && n != body.Size() {
		err = fmt.Errorf("%d bytes of %d: %w", n, body.Size(), io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		return err
	}
	return f.close() // there may be more files in a batch than may be open
}

// publish gives a durable file its final name. If the folder turns out to be on
// another file system than the staging folder, the file is copied to a staging
// folder beside its final name; later files are staged there from the start.
func (d *Dir) publish(ctx context.Context, f *stagedFile, to *folder, o Object) error {
	err := d.move(f, to, o)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	d.making.Lock()
	s, err := d.stageBeside(to)
	d.making.Unlock()
	if err != nil {
		return err
	}
	near, err := s.create(d)
	if err != nil {
		return err
	}
	defer near.Discard()
	if err := near.copyOf(ctx, f); err != nil {
		return err
	}
	return d.move(near, to, o)
}

// move renames a durable file into the folder of its key.
func (d *Dir) move(f *stagedFile, to *folder, o Object) error {
	// Some file systems cannot rename an open file, and some report only when it is
	// closed that its bytes did not arrive.
	if err := f.close(); err != nil {
		return err
	}
	base := path.Base(string(o.Key))
	from := f.in.folder
	switch {
	case o.Opts.IfAbsent:
		err := renameNew(from, f.name, to.File, base)
		if errors.Is(err, errCannotRenameNew) {
			err = d.renameNewLocked(from, f.name, to.File, base)
		}
		if err != nil {
			return err
		}
	case o.Opts.IfMatch != "":
		unlock, err := d.lock()
		if err != nil {
			return err
		}
		defer unlock()
		version, err := d.version(o.Key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || version != o.Opts.IfMatch {
			return ErrChanged
		}
		fallthrough
	default:
		if err := rename(from, f.name, to.File, base); err != nil {
			return err
		}
	}
	f.forget()
	return nil
}

// version returns the version that a file has now. It opens the file, since a
// client of NFS remembers for seconds what it was told of others.
func (d *Dir) version(key Key) (version string, err error) {
	err = d.within(string(key), func(root *os.Root, name string) error {
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err == nil {
			version = FileVersion(st)
		}
		return err
	})
	return version, err
}

// renameNewLocked is for file systems that cannot do in one step what renameNew
// does: every writer there takes the lock.
func (d *Dir) renameNewLocked(fromDir *os.File, from string, toDir *os.File, to string) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if there, err := exists(toDir, to); err != nil {
		return err
	} else if there {
		return named("rename", to, fs.ErrExist)
	}
	return rename(fromDir, from, toDir, to)
}

// lock serialises the writers that replace what they have read before, across
// processes.
func (d *Dir) lock() (unlock func(), err error) {
	f, err := d.OpenLock(writeLock)
	if err != nil {
		return nil, err
	}
	if err := Flock(f, true); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// OpenLock opens a private file, to be locked. It makes the file, and the tree, if
// they are not there.
func (d *Dir) OpenLock(key Key) (f *os.File, err error) {
	if _, err := d.open(true); err != nil {
		return nil, err
	}
	in, err := d.folder(path.Clean(PrivatePrefix))
	if err != nil {
		return nil, err
	}
	d.leave(in)
	err = d.within(string(key), func(root *os.Root, name string) error {
		f, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o666)
		return err
	})
	return f, err
}

// makeDir makes a directory, and those above it, durably. The maker of one that is
// there may have died before it synced the parent, so that is done again, unless
// this process may not read the parent.
func makeDir(dir string) error {
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	st, err := os.Stat(dir)
	existed := err == nil && st.IsDir() // mkdir may say something else of it, on networks
	if !existed {
		err = os.Mkdir(dir, 0o777)
		if errors.Is(err, fs.ErrNotExist) {
			if err := makeDir(parent); err != nil {
				return err
			}
			err = os.Mkdir(dir, 0o777)
		}
		existed = errors.Is(err, fs.ErrExist)
	}
	if err != nil && !existed {
		return err
	}
	f, err := os.Open(parent)
	if err == nil {
		err = FlushDir(f)
		f.Close()
	}
	if existed && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

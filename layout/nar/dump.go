//go:build darwin || freebsd || linux || netbsd || openbsd

package nar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// errChanged is the error of Dump when a file or directory did not hold still
// while it was read: it grew, shrank, vanished or became something else. It is
// never fs.ErrNotExist, which only says that there is nothing at the path itself.
var errChanged = errors.New("changed while it was read")

// space is what a Dump works in. It is used again, since a closure has thousands
// of small paths.
type space struct {
	out     [256 << 10]byte // the size of most writes, and of most reads from files
	dirents [32 << 10]byte  // a few hundred entries for each read of a directory
}

var spaces = sync.Pool{New: func() any { return new(space) }}

// Dump writes the NAR of the file-system object at path to w, byte for byte what
// nix-store --dump writes on Linux. As there, a file is executable if its owner
// may execute it; there is no undoing of the "case hack" of Nix on macOS.
//
// A symbolic link is dumped as such, be it below path or path itself, even with a
// slash at the end of path (Nix 2.8 would follow that one). Sockets,
// pipes and devices are an error, as is a tree that changes (errChanged). Errors
// about the tree are *fs.PathError and name the object. After an error, w holds
// part of an archive.
//
// At most a small, fixed number of file descriptors is open, however deep the tree.
func Dump(ctx context.Context, w io.Writer, path string) error {
	if path == "" {
		return &fs.PathError{Op: "dump", Path: path, Err: fs.ErrInvalid}
	}
	sp := spaces.Get().(*space)
	defer spaces.Put(sp)
	// Cleaned, since a slash at the end would follow a link at the root.
	d := dumper{ctx: ctx, w: w, root: filepath.Clean(path), buf: sp.out[:0], dirents: sp.dirents[:]}
	defer d.closeDirs()

	var st unix.Stat_t
	if err := fstatat(unix.AT_FDCWD, d.root, &st); err != nil {
		return d.fail(d.root, err)
	}
	d.put(tokMagic)
	if err := d.node(unix.AT_FDCWD, entry{d.root, kindOf(uint32(st.Mode))}); err != nil {
		return err
	}
	return d.flush()
}

// A dumper is one run of Dump.
type dumper struct {
	ctx  context.Context
	w    io.Writer
	root string
	dirs []dir  // open directories, outermost first
	buf  []byte // what is not yet written; never grows

	dirents []byte // for readDir
	werr    error  // of w or ctx, sticky, so that put need not return it
}

// node dumps the object that e names in the directory dirfd.
func (d *dumper) node(dirfd int, e entry) error {
	if err := d.ctx.Err(); err != nil {
		return d.stop(err)
	}
	if e.kind == unknown { // not every file system tells the kind with the name
		var st unix.Stat_t
		if err := fstatat(dirfd, e.name, &st); err != nil {
			return d.fail(e.name, changed(err))
		}
		e.kind = kindOf(uint32(st.Mode))
	}
	switch e.kind {
	case regular:
		return d.regular(dirfd, e.name)
	case directory:
		return d.directory(dirfd, e.name)
	case symlink:
		return d.symlink(dirfd, e.name)
	}
	return d.fail(e.name, fmt.Errorf("%v cannot be in a NAR", e.kind))
}

// regular dumps a regular file.
func (d *dumper) regular(dirfd int, name string) error {
	// Not blocking, in case it became a pipe since its kind was read.
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return d.fail(name, changed(err))
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return d.fail(name, err)
	}
	if k := kindOf(uint32(st.Mode)); k != regular {
		return d.fail(name, fmt.Errorf("%w: it became %v", errChanged, k))
	}
	d.put(tokOpen + tokType + tokRegular)
	if st.Mode&unix.S_IXUSR != 0 {
		d.put(tokExecutable + tokEmpty)
	}
	d.put(tokContents)
	d.putLen(st.Size)
	if err := d.content(fd, st.Size); err != nil {
		return d.fail(name, err)
	}
	d.put(zeros[:padding(st.Size)])
	d.put(tokClose)
	return d.werr
}

// content copies all of an open file, which must be size bytes long.
func (d *dumper) content(fd int, size int64) error {
	for left := size; left > 0; {
		if len(d.buf) == cap(d.buf) {
			if err := d.flush(); err != nil {
				return err
			}
		}
		free := d.buf[len(d.buf):cap(d.buf)]
		n, err := read(fd, free[:min(int64(len(free)), left)])
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: it shrank from %d to %d bytes", errChanged, size, size-left)
		}
		d.buf = d.buf[:len(d.buf)+n]
		left -= int64(n)
	}
	// The archive would be well formed without what was appended meanwhile, and
	// be the NAR of a file that never was.
	var more [1]byte
	n, err := read(fd, more[:])
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: it grew beyond %d bytes", errChanged, size)
	}
	return err
}

// symlink dumps a symbolic link.
func (d *dumper) symlink(dirfd int, name string) error {
	var target [MaxTarget + 1]byte
	n, err := readlinkat(dirfd, name, target[:])
	switch {
	case errors.Is(err, unix.EINVAL):
		return d.fail(name, fmt.Errorf("%w: it is no symbolic link any more", errChanged))
	case err != nil:
		return d.fail(name, changed(err))
	case n == 0 || n > MaxTarget:
		return d.fail(name, fmt.Errorf("target of a symbolic link is not of 1..%d bytes", MaxTarget))
	}
	d.put(tokOpen + tokType + tokSymlink + tokTarget)
	d.putString(string(target[:n]))
	d.put(tokClose)
	return d.werr
}

// stop records an error that has nothing to do with the tree.
func (d *dumper) stop(err error) error {
	d.werr = fmt.Errorf("dump %s: %w", d.root, err)
	return d.werr
}

// fail makes the error about the object that name names in the current directory.
func (d *dumper) fail(name string, err error) error {
	if d.werr != nil {
		return d.werr
	}
	var path strings.Builder
	for _, p := range d.dirs {
		path.WriteString(strings.TrimSuffix(p.name, "/")) // the root may be "/"
		path.WriteByte('/')
	}
	path.WriteString(name)
	return &fs.PathError{Op: "dump", Path: path.String(), Err: err}
}

// changed turns the errors of a name whose kind was known a moment ago.
func changed(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: it vanished", errChanged)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: it became something else", errChanged)
	}
	return err
}

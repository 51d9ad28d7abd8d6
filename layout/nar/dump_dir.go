//go:build darwin || freebsd || linux || netbsd || openbsd

package nar

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpenDirs is how many directories, of those around the node that is dumped,
// are kept open. The innermost are, since they are needed next.
const maxOpenDirs = 64

// A dir is a directory that is being dumped.
type dir struct {
	name string
	fd   int // -1 if closed for being too far out

	// Set when fd is -1: what must be found there when it is opened again.
	dev, ino uint64
}

// directory dumps a directory and all in it. It recurses at most MaxDepth deep.
func (d *dumper) directory(dirfd int, name string) error {
	if len(d.dirs) == MaxDepth {
		return d.fail(name, fmt.Errorf("more than %d directories inside one another", MaxDepth))
	}
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY)
	if err != nil {
		return d.fail(name, changed(err))
	}
	entries, err := d.readDir(fd)
	if err != nil {
		unix.Close(fd)
		return d.fail(name, err)
	}
	if err := d.enter(name, fd); err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })

	d.put(tokOpen + tokType + tokDirectory)
	for i, e := range entries {
		// Some file systems allow more than Nix can restore elsewhere.
		if len(e.name) > MaxName {
			return d.fail(e.name, fmt.Errorf("name is longer than %d bytes", MaxName))
		}
		// A directory that changes while it is listed may name an entry twice.
		if i > 0 && e.name == entries[i-1].name {
			return d.fail(e.name, fmt.Errorf("%w: it is listed twice", errChanged))
		}
		d.put(tokEntry + tokOpen + tokName)
		d.putString(e.name)
		d.put(tokNode)
		if err := d.node(d.dirs[len(d.dirs)-1].fd, e); err != nil {
			return err
		}
		d.put(tokClose)
	}
	d.put(tokClose)
	if err := d.leave(); err != nil {
		return err
	}
	return d.werr
}

// enter makes an open directory the current one. It takes over fd.
func (d *dumper) enter(name string, fd int) error {
	d.dirs = append(d.dirs, dir{name: name, fd: fd})
	if i := len(d.dirs) - 1 - maxOpenDirs; i >= 0 && d.dirs[i].fd >= 0 {
		outer := &d.dirs[i]
		var st unix.Stat_t
		if err := fstat(outer.fd, &st); err != nil {
			return d.fail(".", err)
		}
		outer.dev, outer.ino = uint64(st.Dev), uint64(st.Ino)
		unix.Close(outer.fd)
		outer.fd = -1
	}
	return nil
}

// leave makes the parent of the current directory the current one.
func (d *dumper) leave() error {
	inner := d.dirs[len(d.dirs)-1]
	if len(d.dirs) > 1 {
		if err := d.reopen(inner.fd, &d.dirs[len(d.dirs)-2]); err != nil {
			return err
		}
	}
	unix.Close(inner.fd)
	d.dirs = d.dirs[:len(d.dirs)-1]
	return nil
}

// reopen opens outer again, the parent of the directory fd, if it was closed. The
// way up leads elsewhere if the directory was moved; that must not go unnoticed.
func (d *dumper) reopen(fd int, outer *dir) error {
	if outer.fd >= 0 {
		return nil
	}
	up, err := openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return d.fail("..", changed(err))
	}
	var st unix.Stat_t
	if err := fstat(up, &st); err != nil {
		unix.Close(up)
		return d.fail("..", err)
	}
	if uint64(st.Dev) != outer.dev || uint64(st.Ino) != outer.ino {
		unix.Close(up)
		return d.fail("..", fmt.Errorf("%w: it was moved", errChanged))
	}
	outer.fd = up
	return nil
}

func (d *dumper) closeDirs() {
	for _, p := range d.dirs {
		if p.fd >= 0 {
			unix.Close(p.fd)
		}
	}
}

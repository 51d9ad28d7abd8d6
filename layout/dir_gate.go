package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var _ Gater = (*Dir)(nil)

// How often the gate is tried. A flock that waits would hold a thread for each
// writer, and could not be interrupted.
const (
	gateFirst = time.Millisecond
	gateLast  = 16 * time.Millisecond
)

// Gate takes a flock on a file: shared for writers, exclusive for a sweeper. A
// second file is the way in to the first: a sweeper holds it while it waits for the
// writers inside to leave. The kernel frees both when a process dies.
//
// A process that finds no first file makes it, be it a writer or a sweeper, so that both lock
// the same one. It is never removed.
func (d *Dir) Gate(ctx context.Context, sweep bool) (leave func(), err error) {
	_, err = d.open(false)
	if errors.Is(err, fs.ErrNotExist) && !sweep {
		return func() {}, nil // there is nothing in it
	}
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if sweep {
		how = unix.LOCK_EX
	}
	var way *os.File
	defer func() { closeFile(way) }()
	for wait := gateFirst; ; wait = min(2*wait, gateLast) {
		err = nil
		if way == nil {
			way, err = d.lockAs(gateWay, how, sweep)
			if errors.Is(err, fs.ErrNotExist) && !sweep {
				err = nil // no sweeper was ever here
			}
		}
		if err == nil {
			var inside *os.File
			inside, err = d.lockAs(gateLock, how, true)
			if err == nil || errors.Is(err, fs.ErrNotExist) && !sweep {
				return func() { closeFile(inside) }, nil
			}
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		if !sweep { // or it would keep sweepers out of the way in
			closeFile(way)
			way = nil
		}
		if err := Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// lockAs opens a private file and locks it, or returns EWOULDBLOCK. The lock ends
// when the file is closed. A file that this process may not make or write to is
// only read; the error is fs.ErrNotExist if it is not there then.
func (d *Dir) lockAs(key Key, how int, create bool) (f *os.File, err error) {
	open := func(flags int) error {
		return d.within(string(key), func(root *os.Root, name string) error {
			f, err = root.OpenFile(name, flags|syscall.O_NONBLOCK, 0o666)
			return err
		})
	}
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	if err = open(flags); create && errors.Is(err, fs.ErrNotExist) {
		var in *folder
		if in, err = d.folder(path.Dir(string(key))); err == nil {
			d.leave(in)
			err = open(flags)
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		why := err
		if err = open(os.O_RDONLY); err != nil {
			err = fmt.Errorf("%w (%w)", why, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := flockAs(f, how|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Touch is for a sweeper on a full disk, see Touch.
func (d *Dir) Touch(key Key) error {
	now := time.Now()
	err := d.within(string(key), func(root *os.Root, name string) error { return root.Chtimes(name, now, now) })
	if err != nil {
		return fmt.Errorf("touch %s: %w", key, err)
	}
	return nil
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// Sleep waits, or returns the cause of the context's end.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

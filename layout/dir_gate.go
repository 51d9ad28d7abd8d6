package layout

import (
	"context"
	"errors"
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

// Gate takes a flock on the directory itself: shared for writers, exclusive for a
// sweeper. A second one, on the private folder, is the way in to it: a sweeper
// holds it while it waits for the writers inside to leave. The kernel frees both
// when a process dies.
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
		if _, err := d.folder(path.Clean(PrivatePrefix)); err != nil {
			return nil, err
		}
	}
	var way *os.File
	defer func() { closeFile(way) }()
	for wait := gateFirst; ; wait = min(2*wait, gateLast) {
		err = nil
		if way == nil {
			way, err = d.lockFolder(path.Clean(PrivatePrefix), how)
			if errors.Is(err, fs.ErrNotExist) && !sweep {
				err = nil // no sweeper was ever here
			}
		}
		if err == nil {
			var inside *os.File
			if inside, err = d.lockFolder(".", how); err == nil {
				return func() { inside.Close() }, nil
			}
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		if !sweep { // or it would keep sweepers out of the way in
			closeFile(way)
			way = nil
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// lockFolder opens a folder and locks it, or returns EWOULDBLOCK. The lock ends
// when the file is closed.
func (d *Dir) lockFolder(name string, how int) (f *os.File, err error) {
	err = d.within(name, func(root *os.Root, name string) error {
		f, err = root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := flockAs(f, how|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package layout

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// A Lent is a spool file as another party than its writer reads it. It may be read
// while the file is written, as far as that has got, and after the file was put or
// discarded.
type Lent interface {
	io.ReaderAt
	io.Closer
}

// A Lender is a spool file that can be lent.
type Lender interface {
	// Lend opens the file once more.
	Lend() (Lent, error)
}

// Lend opens a spool file once more. The error wraps errors.ErrUnsupported if its spool
// cannot do that.
func Lend(f SpoolFile) (Lent, error) {
	if l, ok := f.(Lender); ok {
		return l.Lend()
	}
	return nil, fmt.Errorf("read a spool file while it is written: %w", errors.ErrUnsupported)
}

func (f *stagedFile) Lend() (Lent, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.name == "" {
		return nil, fs.ErrClosed
	}
	return f.in.files.Open(f.name)
}

// A temporary file has no name to open it by, so that it stays open until the last
// party is done with it.
func (t *tempFile) Lend() (Lent, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users == 0 {
		return nil, fs.ErrClosed
	}
	t.users++
	return &lentTemp{t: t}, nil
}

type lentTemp struct {
	t    *tempFile
	once sync.Once
}

func (l *lentTemp) ReadAt(p []byte, off int64) (int, error) { return l.t.f.ReadAt(p, off) }

func (l *lentTemp) Close() error {
	l.once.Do(l.t.leave)
	return nil
}

// leave closes the file if no other party uses it.
func (t *tempFile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users == 0 {
		t.f.Close()
	}
}

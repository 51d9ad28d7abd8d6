package layout

import (
	"io/fs"
	"os"
	"sync"
)

// A stagedFile lies in the staging folder until a Put renames it.
type stagedFile struct {
	dir *Dir
	in  *staging

	mu     sync.Mutex
	name   string   // "" once it is published or discarded
	file   *os.File // nil while it is closed
	size   int64
	pushed int64 // bytes that are on their way to disk
	synced bool  // or it failed, for good: what the disk refused once is gone, whatever it says the next time
	failed error // how
}

// pushStep is how much of a file is written between two calls that set its
// bytes on their way to disk, so that the fsync at its end finds little to do.
const pushStep = 8 << 20

// pushLast is the size from which it is worth while to push out the rest.
const pushLast = 4 << 20

func (f *stagedFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.size += int64(n)
	if f.size-f.pushed >= pushStep {
		f.push()
	}
	return n, err
}

func (f *stagedFile) push() {
	startWriteback(f.file, f.pushed, f.size-f.pushed)
	f.pushed = f.size
}

// Size returns the bytes written.
func (f *stagedFile) Size() int64 { return f.size }

// ReadAt reads the file, opening it for the occasion: it is rarely wanted.
func (f *stagedFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		if f.name == "" {
			return 0, fs.ErrClosed
		}
		file, err := f.in.files.Open(f.name)
		if err != nil {
			return 0, err
		}
		f.file = file
	}
	return f.file.ReadAt(p, off)
}

// Done closes the file, so that ten thousand small ones may wait for publication.
// It does not wait for the disk, as its caller has the next file to write:
// PutBatch does, for many files at once. A large one stays open until then: that
// its bytes did not reach the disk is told to those who have it open.
func (f *stagedFile) Done() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size >= pushLast {
		f.push()
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func (f *stagedFile) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.synced:
		return f.failed
	case f.name == "":
		return fs.ErrClosed
	case f.file == nil:
		// On some file systems, who may write may sync, and no others.
		file, err := f.in.files.OpenFile(f.name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		f.synced, f.failed = true, FlushFile(file)
		return f.failed
	}
	f.synced, f.failed = true, FlushFile(f.file)
	return f.failed
}

// close closes the file if it is open.
func (f *stagedFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func (f *stagedFile) Discard() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.name != "" {
		f.in.files.Remove(f.name)
		f.name = ""
	}
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// forget is told that the file has its final name now.
func (f *stagedFile) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.name = ""
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

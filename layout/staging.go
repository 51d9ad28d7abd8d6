package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// staging is the folder of one process's unfinished files, locked as long as
// the process lives: what a dead process left behind is known by its free lock.
type staging struct {
	tree  *os.Root
	dir   string
	files *os.Root // in dir
	lock  *os.File // dir itself
	next  atomic.Int64
}

// newStaging makes a folder of our own and clears those of dead processes.
func newStaging(tree *os.Root) (*staging, error) {
	err := tree.MkdirAll(StagingPrefix, 0o777)
	if errors.Is(err, fs.ErrExist) {
		// It says so as well if it could not look what exists (I5).
		var st fs.FileInfo
		if st, err = tree.Stat(StagingPrefix); err == nil && !st.IsDir() {
			err = fmt.Errorf("%s: %w", StagingPrefix, syscall.ENOTDIR)
		}
	}
	if err != nil {
		return nil, err
	}
	s := &staging{tree: tree, dir: fmt.Sprintf("%s%d-%08x", StagingPrefix, os.Getpid(), rand.Uint32())}
	if err := tree.Mkdir(s.dir, 0o777); err != nil {
		return nil, err
	}
	// Between our Mkdir and our lock another process may take the folder for a
	// dead one's. Then it is gone, before or after we open it, and we make the next.
	lock, err := tree.Open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return newStaging(tree)
	}
	if err != nil {
		return nil, err
	}
	if err := flock(lock, true); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", s.dir, err)
	}
	s.lock = lock
	s.files, err = tree.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		lock.Close()
		return newStaging(tree)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	sweep(tree, s.dir)
	return s, nil
}

// Sweep removes what dead processes left in staging. The first Create does so by
// itself; Sweep is for a process that finds nothing to write. What cannot be
// removed is left to the next process.
func (d *Dir) Sweep() {
	root, err := d.open(false)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staging == nil { // otherwise it is done
		sweep(root, "")
	}
}

// sweep removes the folders whose owners are dead, but for one's own.
func sweep(tree *os.Root, own string) {
	names, err := readNames(tree, StagingPrefix)
	if err != nil {
		return
	}
	for _, name := range names {
		dir := path.Join(StagingPrefix, name)
		if dir == own {
			continue
		}
		// Without O_NONBLOCK a planted named pipe would hold us for ever.
		f, err := tree.OpenFile(dir, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if flock(f, false) == nil {
			tree.RemoveAll(dir)
		}
		f.Close()
	}
}

func (s *staging) close() error {
	return errors.Join(s.tree.RemoveAll(s.dir), s.files.Close(), s.lock.Close())
}

// Create makes a file in the tree's staging folder.
func (d *Dir) Create() (SpoolFile, error) {
	root, err := d.open(true)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.staging == nil {
		d.staging, err = newStaging(root)
	}
	s := d.staging
	d.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	name := strconv.FormatInt(s.next.Add(1), 10)
	f, err := s.files.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return &stagedFile{dir: d, in: s, name: name, file: f}, nil
}

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

// pushLast is the size from which it is worth while to push out the rest.
const pushLast = 4 << 20

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
		file, err := f.in.files.Open(f.name)
		if err != nil {
			return err
		}
		defer file.Close()
		f.synced, f.failed = true, file.Sync()
		return f.failed
	}
	f.synced, f.failed = true, f.file.Sync()
	return f.failed
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

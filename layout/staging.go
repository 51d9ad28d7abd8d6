package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	// besideDir is the staging folder in a folder that is a file system of its own,
	// such as a disk that is mounted there: files can be renamed only inside of one.
	besideDir = ".nixstatic-staging"

	lockSuffix = ".lock"
)

// A staging is a folder of one process's unfinished files. Beside it stands a file
// that the process keeps locked as long as it lives: what a dead process left
// behind is known by its free lock. It is a file because some file systems that
// are on a network lock directories on one machine alone.
type staging struct {
	in     *os.Root // where the folder is
	name   string
	files  *os.Root // the folder
	folder *os.File // the same, to rename from
	lock   *os.File
	next   atomic.Int64
}

// newStaging makes a folder of our own in a directory, which is the staging's
// from here on, and clears those of dead processes.
func newStaging(in *os.Root) (_ *staging, err error) {
	s := &staging{in: in, name: fmt.Sprintf("%d-%08x", os.Getpid(), rand.Uint32())}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// The lock comes first: a folder is never without.
	if s.lock, err = in.OpenFile(s.name+lockSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
		return nil, cannotWrite(err)
	}
	if err := Flock(s.lock, true); err != nil {
		return nil, err
	}
	// Before it was locked it looked like that of a dead process.
	if _, err := in.Lstat(s.name + lockSuffix); errors.Is(err, fs.ErrNotExist) {
		s.in = nil
		return newStaging(in)
	} else if err != nil {
		return nil, err
	}
	if err := in.Mkdir(s.name, 0o777); err != nil {
		return nil, err
	}
	if s.files, err = in.OpenRoot(s.name); err != nil {
		return nil, err
	}
	if s.folder, err = in.Open(s.name); err != nil {
		return nil, err
	}
	sweep(in, s.name)
	return s, nil
}

// close removes the folder.
func (s *staging) close() error {
	if s.in == nil {
		return s.lock.Close()
	}
	if s.files != nil {
		s.files.Close()
	}
	err := s.in.RemoveAll(s.name)
	if s.folder != nil {
		s.folder.Close()
	}
	if err != nil { // some file systems do not remove what is open
		err = s.in.RemoveAll(s.name)
	}
	if s.lock != nil {
		// Before it is free: a file of that name is never another process's.
		err = errors.Join(err, s.in.RemoveAll(s.name+lockSuffix), s.lock.Close())
	}
	return errors.Join(err, s.in.Close())
}

// create makes a file in the folder.
func (s *staging) create(d *Dir) (*stagedFile, error) {
	name := strconv.FormatInt(s.next.Add(1), 10)
	f, err := s.files.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, cannotWrite(err)
	}
	return &stagedFile{dir: d, in: s, name: name, file: f}, nil
}

// Sweep removes what dead processes left in staging. The first Create does so by
// itself; Sweep is for a process that finds nothing to write. It leaves what it
// cannot remove to the next process.
func (d *Dir) Sweep() {
	for _, dir := range append([]string{"."}, PublicFolders...) {
		d.sweepIn(path.Join(dir, besideDir))
	}
	d.sweepIn(StagingPrefix)
}

func (d *Dir) sweepIn(dir string) {
	d.within(dir, func(root *os.Root, name string) error {
		in, err := openFolder(root, name)
		if err == nil {
			sweep(in, "")
			in.Close()
		}
		return err
	})
}

// sweep removes the folders whose owners are dead, but for one's own.
func sweep(in *os.Root, own string) {
	names, err := readNames(in, ".")
	if err != nil {
		return
	}
	for _, name := range names {
		if name = strings.TrimSuffix(name, lockSuffix); name != own {
			sweepOne(in, name)
		}
	}
}

func sweepOne(in *os.Root, name string) {
	// Without O_NONBLOCK a planted named pipe would hold us for ever.
	f, err := in.OpenFile(name+lockSuffix, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it never had a lock
	}
	if err != nil {
		return
	}
	defer f.Close()
	if Flock(f, false) == nil && in.RemoveAll(name) == nil {
		in.Remove(name + lockSuffix)
	}
}

// createFor makes an unfinished file that is to go to a folder of the tree.
func (d *Dir) createFor(dir string) (*stagedFile, error) {
	for again := true; ; again = false {
		s, err := d.stagingFor(dir)
		var f *stagedFile
		if err == nil {
			f, err = s.create(d)
		}
		if err == nil {
			return f, nil
		}
		if !again || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("stage: %w", err)
		}
		d.leaveStaging(s) // someone tidies the tree under us
	}
}

// stagingFor returns where files for a folder of the tree are staged: on the same
// file system, as far as that shows.
func (d *Dir) stagingFor(dir string) (*staging, error) {
	d.making.Lock()
	defer d.making.Unlock()
	if d.staging == nil {
		if _, err := d.open(true); err != nil {
			return nil, err
		}
		s, err := d.openStaging(StagingPrefix)
		if err != nil {
			return nil, err
		}
		d.staging = s
	}
	if have := d.folders[dir]; have != nil && have.near {
		return d.staging, nil
	}
	if _, err := d.stat(dir); errors.Is(absent(err), fs.ErrNotExist) {
		return d.staging, nil // it will be made on the tree's own file system
	}
	to, err := d.makeFolder(dir)
	if err != nil {
		return nil, err
	}
	if to.near, err = sameDevice(d.staging.folder, to.File); err != nil || to.near {
		return d.staging, err
	}
	return d.stageBeside(to)
}

// stageBeside returns the staging folder in a folder of the tree. The caller
// holds d.making.
func (d *Dir) stageBeside(to *folder) (*staging, error) {
	if to.beside == nil {
		s, err := d.openStaging(path.Join(to.path, besideDir))
		if err != nil {
			return nil, err
		}
		to.beside, to.near = s, false
	}
	return to.beside, nil
}

// openStaging makes a staging folder in a directory of the tree. The caller holds
// d.making.
func (d *Dir) openStaging(dir string) (s *staging, err error) {
	err = d.within(dir, func(root *os.Root, name string) error {
		if err := makeIn(root, name); err != nil {
			return err
		}
		in, err := root.OpenRoot(name)
		if err != nil {
			return err
		}
		s, err = newStaging(in)
		return err
	})
	if err == nil {
		d.all = append(d.all, s)
	}
	return s, err
}

// leaveStaging makes no more files in a staging folder, which is nil if there is
// none.
func (d *Dir) leaveStaging(s *staging) {
	d.making.Lock()
	defer d.making.Unlock()
	if d.staging == s {
		d.staging = nil
	}
	for _, f := range d.folders {
		if f.beside == s {
			f.beside = nil
		}
	}
}

// makeAll makes a directory, and those above it. The private folder is closed to others at
// its top: a web server beside us, which is another user, then cannot give it out,
// whatever its configuration says. Files in it are made as public ones are, since they
// become public by a rename. A group that may write to the tree may do so there too.
func makeAll(root *os.Root, dir string) error {
	top, _, _ := strings.Cut(dir, "/")
	if strings.HasPrefix(top, path.Clean(PrivatePrefix)) {
		mode := fs.FileMode(0o700)
		if st, err := root.Stat("."); err == nil && st.Mode()&0o020 != 0 {
			mode = 0o770
		}
		if _, err := root.Lstat(top); err == nil {
			return root.MkdirAll(dir, 0o777)
		}
		if err := root.Mkdir(top, mode); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return root.MkdirAll(dir, 0o777)
}

// makeIn makes a directory, and those above it.
func makeIn(root *os.Root, dir string) error {
	err := makeAll(root, dir)
	if errors.Is(err, fs.ErrExist) {
		// It says so as well if it could not look what exists (I5).
		var st fs.FileInfo
		if st, err = root.Stat(dir); err == nil && !st.IsDir() {
			err = fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
		}
	}
	return err
}

// Create makes a file for a NAR in the tree's staging folder. It can be put at
// any key: where that is on another file system, it is copied then.
func (d *Dir) Create() (SpoolFile, error) {
	f, err := d.createFor(path.Clean(NARFolder))
	if err != nil {
		return nil, err
	}
	return f, nil
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

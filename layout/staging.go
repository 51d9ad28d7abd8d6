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
		d.keep(to)
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

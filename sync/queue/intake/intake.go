// Package intake is the way into a queue, and all that the hook of a build waits for. It
// imports little: package hook tells why.
package intake

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// New is the folder of a queue that entries are added to. Missed and MissedLast are
// files whose times of change say since when paths could not be added, and when that
// happened last; the epoch says that none was missed.
const (
	New        = "new"
	Missed     = "missed"
	MissedLast = "missed-last"
)

// Epoch is the time of change of a file that has nothing to tell.
var Epoch = time.Unix(0, 0)

// Add adds store paths, each named in full, to the queue in a directory. A derivation
// stands for its outputs. A path that cannot be added is missed: the process that drains
// the queue looks into the store for it.
//
// The hook of a build is root's, and the queue may be of a user who is not: links in it
// lead out of it nowhere.
func Add(dir string, paths ...string) error {
	queue, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer queue.Close()
	var errs []error
	more := 0
	failed := func(err error) {
		if len(errs) < maxErrors {
			errs = append(errs, err)
		} else {
			more++
		}
	}
	for _, path := range paths {
		name := path[lastSlash(path)+1:]
		if !IsName(name) || path[0] != '/' {
			failed(errors.New(strconv.Quote(path[:min(len(path), maxShown)]) + " is not a store path"))
			continue
		}
		if err := link(queue, path, New+"/"+name); err != nil {
			failed(errors.Join(err, missedSince(queue, time.Now().Add(-Before))))
		}
	}
	if more > 0 {
		errs = append(errs, errors.New("and "+strconv.Itoa(more)+" more"))
	}
	return errors.Join(errs...)
}

// link makes an entry, unless it is there.
func link(queue *os.Root, path, name string) error {
	for range 10 {
		err := queue.Symlink(path, name)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		switch at, e := queue.Readlink(name); {
		case at == path:
			return nil
		case errors.Is(e, fs.ErrNotExist):
			// The process that drains has taken the one that was there.
		default:
			return err
		}
	}
	return errors.New(name + " comes and goes")
}

// maxErrors is how many errors Add tells one by one, and maxShown how many bytes it shows of
// a text that is not a store path.
const (
	maxErrors = 10
	maxShown  = 300
)

func lastSlash(path string) int {
	i := len(path) - 1
	for i >= 0 && path[i] != '/' {
		i--
	}
	return i
}

// Before is how long before a failed attempt to add a path its registration in the store
// may lie.
const Before = 10 * time.Minute

// MissedSince notes that paths that were built since a moment are not in the queue: where
// the disk is full, the time of a file can still be changed.
func MissedSince(dir string, moment time.Time) error {
	queue, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer queue.Close()
	return missedSince(queue, moment)
}

func missedSince(queue *os.Root, moment time.Time) error {
	return Change(queue, func(since, _ time.Time) (time.Time, time.Time) {
		if since.Equal(Epoch) || since.After(moment) {
			since = moment
		}
		return since, time.Now()
	})
}

// Change changes the times of the two files while other processes wait.
func Change(queue *os.Root, change func(since, last time.Time) (time.Time, time.Time)) error {
	f, err := queue.Open(Missed)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := Flock(f, syscall.LOCK_EX); err != nil {
		return err
	}
	since, err := f.Stat()
	if err != nil {
		return err
	}
	last, err := queue.Stat(MissedLast)
	if err != nil {
		return err
	}
	first, latest := change(since.ModTime(), last.ModTime())
	return errors.Join(queue.Chtimes(Missed, first, first), queue.Chtimes(MissedLast, latest, latest))
}

// Flock locks a file, however often a signal comes.
func Flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// IsName reports whether a text has the form of the base name of a store path.
func IsName(name string) bool {
	if len(name) < 34 || len(name) > 32+1+211 || name[32] != '-' {
		return false
	}
	for i, c := range []byte(name) {
		digit, letter := '0' <= c && c <= '9', 'a' <= c && c <= 'z'
		// Nix's base 32 lacks four letters.
		if i < 32 && (!digit && !letter || c == 'e' || c == 'o' || c == 't' || c == 'u') ||
			i > 32 && !digit && !letter && ('A' > c || c > 'Z') {
			switch {
			case i < 32:
				return false
			case c == '+', c == '-', c == '.', c == '_', c == '?', c == '=':
				continue
			}
			return false
		}
	}
	return true
}

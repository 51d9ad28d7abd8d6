package queue

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// An Entry is a store path that waits.
type Entry struct {
	Path  string // in full
	Since time.Time

	file string // below the directory of the queue
}

// Waiting returns what waits, the oldest first. Links that are not entries are left
// alone.
func (q *Queue) Waiting() ([]Entry, error) { return q.list("new", "work") }

func (q *Queue) list(folders ...string) ([]Entry, error) {
	var all []Entry
	seen := map[string]bool{}
	for _, folder := range slices.Backward(folders) {
		names, err := os.ReadDir(q.in(folder))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			file := folder + "/" + n.Name()
			if !intake.IsName(n.Name()) || seen[n.Name()] {
				continue
			}
			target, err := os.Readlink(q.in(file))
			if errors.Is(err, fs.ErrNotExist) {
				continue // taken or sent meanwhile
			}
			if err != nil || target == "" || target[0] != '/' || target[len(target)-min(len(target), len(n.Name())):] != n.Name() {
				continue
			}
			st, err := os.Lstat(q.in(file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			seen[n.Name()] = true
			all = append(all, Entry{Path: target, Since: st.ModTime(), file: file})
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Path, b.Path)) })
	return all, nil
}

// take moves what is new to what is worked on, so that a path that is built again while
// it is being sent is an entry of its own, and returns all. An entry that
// cannot be moved, as on a full disk, stays where it is.
func (q *Queue) take() ([]Entry, error) {
	fresh, err := q.list("new")
	if err != nil {
		return nil, err
	}
	for _, e := range fresh {
		os.Rename(q.in(e.file), q.in("work/"+e.file[len("new/"):]))
	}
	return q.Waiting()
}

// done removes an entry. A second time does nothing.
func (q *Queue) done(e Entry) error {
	if err := os.Remove(q.in(e.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// File returns the link of an entry, by which the store can be told to keep the path.
func (q *Queue) File(e Entry) string { return q.in(e.file) }

// foundAll notes that a search of the store, begun at a moment, has added what was
// missed until then.
func (q *Queue) foundAll(begun time.Time) error {
	queue, err := os.OpenRoot(q.dir)
	if err != nil {
		return err
	}
	defer queue.Close()
	return intake.Change(queue, func(since, last time.Time) (time.Time, time.Time) {
		if last.Before(begun) {
			return intake.Epoch, intake.Epoch
		}
		return since, last
	})
}

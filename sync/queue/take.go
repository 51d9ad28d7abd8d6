package queue

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
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
			if err != nil || !strings.HasPrefix(target, "/") || !strings.HasSuffix(target, "/"+n.Name()) {
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
	slices.SortFunc(all, byAge)
	return all, nil
}

func byAge(a, b Entry) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Path, b.Path)) }

// clear moves aside what has the name of an entry and is none, as a damaged disk leaves it:
// the path of that name could not be added. The store is searched for that path.
func (q *Queue) clear() error {
	for _, folder := range []string{"new", "work"} {
		names, err := os.ReadDir(q.in(folder))
		if err != nil {
			return err
		}
		for _, n := range names {
			file := q.in(folder + "/" + n.Name())
			st, err := os.Lstat(file)
			if err != nil || !intake.IsName(n.Name()) || isEntry(file, n.Name()) {
				continue
			}
			if err := os.MkdirAll(q.in("strange"), 0o755); err != nil {
				continue // the next time
			}
			if os.Rename(file, q.in("strange/"+n.Name())) != nil {
				continue
			}
			if err := intake.MissedSince(q.dir, st.ModTime().Add(-intake.Before)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isEntry reports whether a file is a link to a path of its own name, or went meanwhile.
func isEntry(file, name string) bool {
	target, err := os.Readlink(file)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && strings.HasPrefix(target, "/") && strings.HasSuffix(target, "/"+name)
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
// missed until then. Seen is when something was missed last, as it was known before.
func (q *Queue) foundAll(begun, seen time.Time) error {
	queue, err := os.OpenRoot(q.dir)
	if err != nil {
		return err
	}
	defer queue.Close()
	return intake.Change(queue, func(since, last time.Time) (time.Time, time.Time) {
		// The clock may have been set back.
		if last.Before(begun) || last.Equal(seen) && last.After(begun.Add(time.Minute)) {
			return intake.Epoch, intake.Epoch
		}
		return since, last
	})
}

package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// A Queue is a directory of entries. Its methods are safe for concurrent use, by any
// number of processes.
type Queue struct{ dir string }

// Dir returns the directory.
func (q *Queue) Dir() string { return q.dir }

// Make opens the queue in a directory, which it makes if it is not there.
func Make(dir string) (*Queue, error) {
	q := &Queue{dir}
	for _, sub := range []string{q.in("new"), q.in("work")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{intake.Missed, intake.MissedLast, "lock", "wake"} {
		f, err := os.OpenFile(q.in(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.Close()
		if err := os.Chtimes(q.in(name), intake.Epoch, intake.Epoch); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(q.in("status")); errors.Is(err, fs.ErrNotExist) {
		// Earlier builds are not the queue's.
		if err := q.writeStatus(Status{Looked: time.Now()}); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// Open opens a queue that is there. Its absence is fs.ErrNotExist.
func Open(dir string) (*Queue, error) {
	if _, err := os.Stat(dir + "/new"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no queue in %s: %w", dir, fs.ErrNotExist)
		}
		return nil, err
	}
	return &Queue{dir}, nil
}

func (q *Queue) in(name string) string { return q.dir + "/" + name }

// Add adds store paths, each named in full. A derivation stands for its outputs.
func (q *Queue) Add(paths ...string) error { return intake.Add(q.dir, paths...) }

// Missed returns since when paths may have been built that could not be added, and
// whether there may be any.
func (q *Queue) Missed() (since time.Time, missed bool) {
	st, err := os.Stat(q.in(intake.Missed))
	if err != nil || st.ModTime().Unix() <= 0 {
		return time.Time{}, false
	}
	return past(st.ModTime(), time.Now()), true
}

// missedLast returns when a path could not be added for the last time.
func (q *Queue) missedLast() time.Time {
	st, err := os.Stat(q.in(intake.MissedLast))
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

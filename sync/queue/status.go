package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// A Status tells what waits, and why. A script may read it as JSON.
type Status struct {
	Version  int       `json:"version"`
	Queue    string    `json:"queue"`
	To       string    `json:"to,omitempty"`
	Draining bool      `json:"draining"` // a process drains it
	Waiting  int       `json:"waiting"`
	Oldest   time.Time `json:"oldest,omitzero"` // since when the first of them waits
	Missed   time.Time `json:"missed,omitzero"` // paths that were built since then could not be added yet

	// By the process that drains it, or did so last.
	Sent      int64     `json:"sent"`
	Gone      int64     `json:"gone"` // removed from the store before they could be sent
	LastSent  time.Time `json:"lastSent,omitzero"`
	LastError string    `json:"lastError,omitempty"`
	Refused   bool      `json:"refused,omitempty"` // and to try again does not help
	Tried     time.Time `json:"tried,omitzero"`
	Trying    time.Time `json:"trying,omitzero"` // since when an attempt is under way
	NextTry   time.Time `json:"nextTry,omitzero"`
	Failing   []Failing `json:"failing,omitempty"` // paths that fail by themselves, the first of them

	Saved time.Time `json:"saved,omitzero"`
	Boot  string    `json:"boot,omitempty"` // the start of the machine at which it was saved
	// Looked is until when all that was built has been added, as far as the process knows.
	Looked time.Time `json:"looked,omitzero"`

	tries int
}

// A Failing is a path that cannot be sent while others can.
type Failing struct {
	Path    string    `json:"path"`
	Error   string    `json:"error"`
	Tries   int       `json:"tries"`
	NextTry time.Time `json:"nextTry"`
}

const (
	maxStatus  = 1 << 20 // bytes
	maxFailing = 20
	maxError   = 1000 // bytes
)

// Status reports on a queue.
func (q *Queue) Status() (Status, error) {
	s := q.readStatus()
	s.Version, s.Queue = 1, q.dir
	waiting, err := q.Waiting()
	if err != nil {
		return s, err
	}
	s.Waiting, s.Oldest = len(waiting), time.Time{}
	if len(waiting) > 0 {
		s.Oldest = waiting[0].Since
	}
	s.Missed, _ = q.Missed()
	s.Draining, err = q.draining()
	return s, err
}

// draining reports whether a process drains the queue.
func (q *Queue) draining() (bool, error) {
	f, err := os.Open(q.in("lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	switch err := intake.Flock(f, syscall.LOCK_SH|syscall.LOCK_NB); err {
	case nil:
		return false, nil
	case syscall.EWOULDBLOCK:
		return true, nil
	default:
		return false, err
	}
}

// readStatus returns what the last process wrote. It is there for people: a file that
// cannot be read says nothing.
func (q *Queue) readStatus() (s Status) {
	text, err := readFile(q.in("status"), maxStatus)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return Status{}
	}
	now := time.Now()
	s.Looked = past(s.Looked, now)
	if s.NextTry.After(now.Add(2 * longPause)) {
		s.NextTry = time.Time{}
	}
	return s
}

// doubt is how far before now a time is taken to be that lies in the future, as the clock
// was set back: what was built since then may have any time.
const doubt = 24 * time.Hour

func past(t, now time.Time) time.Time {
	if t.After(now.Add(time.Minute)) {
		return now.Add(-doubt)
	}
	return t
}

// save writes the status. On a full disk the one before stays.
func (d *Drainer) save() {
	d.saved = time.Now()
	d.status.Saved = d.saved
	if d.Looked != nil {
		d.status.Looked = d.Looked()
	}
	s := d.status
	s.LastError = clip(s.LastError)
	s.Failing = nil
	for path, a := range d.paths {
		if len(s.Failing) < maxFailing {
			s.Failing = append(s.Failing, Failing{path, clip(a.err.Error()), a.tries, a.next})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown = s
	if err := d.Queue.writeStatus(s); err != nil {
		d.log("the status of the queue cannot be written: %v", err)
	}
}

func (q *Queue) writeStatus(s Status) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return q.replace("status", append(text, '\n'), 0o644)
}

// bootID names the start of the machine, "" if the system does not say.
func bootID() string {
	text, err := readFile("/proc/sys/kernel/random/boot_id", 100)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func clip(s string) string {
	if len(s) > maxError {
		s = s[:maxError] + "…"
	}
	return s
}

// replace writes a file anew: its readers see the old text or the new.
func (q *Queue) replace(name string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(q.in("."+name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(q.in("."+name), q.in(name))
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return text, err
}

// Settings say where the paths of a queue go, and how: what the command that made it
// was given.
type Settings struct {
	Version int                 `json:"version"`
	To      string              `json:"to"`
	Flags   map[string][]string `json:"flags,omitempty"`
}

// WriteSettings remembers the settings. They may have a password in a URL, and are for
// the owner alone.
func (q *Queue) WriteSettings(s Settings) error {
	s.Version = 1
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return q.replace("settings", append(text, '\n'), 0o600)
}

// ReadSettings returns the settings; fs.ErrNotExist if there are none.
func (q *Queue) ReadSettings() (s Settings, err error) {
	text, err := readFile(q.in("settings"), maxStatus)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", q.in("settings"), err)
	}
	return s, nil
}

package watch

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/nixstatic/nixstatic/layout"
)

// watched are the directories of a tree whose changes are told, beside itself.
// Deeper ones are found when all is compared.
var watched = layout.PublicFolders

// events are the changes of a directory.
type events struct {
	dir     string
	watcher *fsnotify.Watcher // nil if nothing tells of changes

	mu    sync.Mutex
	fresh map[layout.Key]time.Time // changed a moment ago; mu guards it
	tidy  int                      // how many of them are too many
}

func (e *events) open(dir string) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	e.dir, e.watcher, e.fresh = dir, watcher, map[layout.Key]time.Time{}
	return e.again()
}

// again watches all directories that there are. To watch one twice is fine.
func (e *events) again() error {
	if e.watcher == nil {
		return nil
	}
	first := e.watcher.Add(e.dir)
	for _, sub := range watched {
		if err := e.watcher.Add(filepath.Join(e.dir, sub)); err != nil && !errors.Is(err, fs.ErrNotExist) && first == nil {
			first = err
		}
	}
	return first
}

func (e *events) close() {
	if e.watcher != nil {
		e.watcher.Close()
	}
}

// changes and failures are nil, and block, where nothing tells of changes.
func (e *events) changes() <-chan fsnotify.Event {
	if e.watcher == nil {
		return nil
	}
	return e.watcher.Events
}

func (e *events) failures() <-chan error {
	if e.watcher == nil {
		return nil
	}
	return e.watcher.Errors
}

// note takes a change in.
func (s *watching) note(e fsnotify.Event) {
	name, err := filepath.Rel(s.dir, e.Name)
	if err != nil {
		return
	}
	if name == "." {
		s.mark() // the directory itself came or went
		return
	}
	key, err := layout.ParseKey(filepath.ToSlash(name))
	if err != nil {
		return
	}
	now := time.Now()
	switch {
	case !key.Kind().Public():
		// A directory, a temporary file, or nothing of ours.
		if st, err := os.Lstat(e.Name); err == nil && st.IsDir() && e.Has(fsnotify.Create) && key.Kind() != layout.KindPrivate {
			s.again()
			s.mark() // what was put into it before it was watched
		}
	case e.Has(fsnotify.Remove), e.Has(fsnotify.Rename):
		if s.mirror.Delete {
			s.mark()
		}
	case e.Has(fsnotify.Create), e.Has(fsnotify.Write):
		s.refresh(key, now)
		s.add(key, now)
	}
}

// refresh remembers that an object is being written, for as long as that
// matters.
func (s *watching) refresh(key layout.Key, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh[key] = now
	if len(s.fresh) <= s.tidy {
		return
	}
	maps.DeleteFunc(s.fresh, func(_ layout.Key, at time.Time) bool { return now.Sub(at) > s.settle })
	s.tidy = max(maxDirty, 2*len(s.fresh)) // each is looked at a few times in all
}

// isBusy reports whether an object was written to a moment ago. Passes ask it,
// beside the loop.
func (s *watching) isBusy(key layout.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.fresh[key]
	return known && time.Since(at) < s.settle
}

// missed is told that changes were lost, or could not be told.
func (s *watching) missed(err error) {
	s.mark()
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		s.tell(Outcome{Keys: -1, Err: err})
	}
}

// onTheWay is how long the kernel and the watcher may take to tell of a change.
const onTheWay = 200 * time.Millisecond

// takeRest takes in what was told already, or is about to be.
func (s *watching) takeRest() {
	end := time.After(onTheWay)
	for {
		select {
		case e, ok := <-s.changes():
			if !ok {
				return
			}
			s.note(e)
		case err, ok := <-s.failures():
			if !ok {
				return
			}
			s.missed(err)
		case <-end:
			return
		}
	}
}

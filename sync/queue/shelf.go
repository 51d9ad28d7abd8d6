package queue

import (
	"os"
	"slices"
	"time"
)

// A shelf is what the process that drains a queue knows of its entries: to list a hundred
// thousand of them each time would keep a processor busy. Other processes take no entries
// away, and what they add shows in the folder for new ones.
type shelf struct {
	entries []Entry // the oldest first
	names   map[string]bool
	stamp   time.Time // of the folder for new ones, when that was read
	read    time.Time
	listed  time.Time // when all were
}

// relisting is how often all entries are listed, as a person may have removed some.
const relisting = time.Minute

// look moves what is new to what is worked on, so that a path that is built again while
// it is being sent is an entry of its own. An entry that cannot be moved, as on
// a full disk, stays where it is. It reports whether all were listed.
func (s *shelf) look(q *Queue) (listed bool, err error) {
	st, err := os.Stat(q.in("new"))
	if err != nil {
		return false, err
	}
	now := time.Now()
	whole := s.names == nil || now.Sub(s.listed) >= relisting
	// Times of files are not finer than some milliseconds: a folder that was read a moment
	// after it changed may have changed since.
	if !whole && st.ModTime().Equal(s.stamp) && s.read.Sub(s.stamp) >= time.Second {
		return false, nil
	}
	fresh, err := q.list("new")
	if err != nil {
		return false, err
	}
	s.stamp, s.read = st.ModTime(), now
	for i, e := range fresh {
		work := "work/" + e.file[len("new/"):]
		if os.Rename(q.in(e.file), q.in(work)) == nil {
			fresh[i].file = work
		}
	}
	if !whole {
		s.add(fresh)
		return false, nil
	}
	if err := q.clear(); err != nil {
		return false, err
	}
	if s.entries, err = q.Waiting(); err != nil {
		return false, err
	}
	s.names, s.listed = map[string]bool{}, now
	for _, e := range s.entries {
		s.names[e.Path] = true
	}
	return true, nil
}

func (s *shelf) add(fresh []Entry) {
	again := map[string]bool{}
	for _, e := range fresh {
		if s.names[e.Path] {
			again[e.Path] = true
		}
	}
	s.drop(again)
	for _, e := range fresh {
		s.names[e.Path] = true
	}
	s.entries = append(s.entries, fresh...)
	if !slices.IsSortedFunc(s.entries, byAge) {
		slices.SortFunc(s.entries, byAge)
	}
}

// drop takes away the entries of some paths.
func (s *shelf) drop(paths map[string]bool) {
	if len(paths) == 0 {
		return
	}
	s.entries = slices.DeleteFunc(s.entries, func(e Entry) bool { return paths[e.Path] })
	for path := range paths {
		delete(s.names, path)
	}
}

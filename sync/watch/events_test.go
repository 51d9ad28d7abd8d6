package watch

import (
	"fmt"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/nixstatic/nixstatic/layout"
)

// TestWatchOverflow: when changes were lost, or are too many to be told apart,
// all is compared.
func TestWatchOverflow(t *testing.T) {
	s := newWatching(t)
	s.missed(fmt.Errorf("read: %w", fsnotify.ErrEventOverflow))
	if !s.all {
		t.Error("an overflow was passed over")
	}
	s = newWatching(t)
	for i := range maxDirty + 10 {
		s.note(fsnotify.Event{Name: fmt.Sprintf("/tree/log/%032d-x.drv", i), Op: fsnotify.Create})
	}
	if !s.all || len(s.dirty) > maxDirty+1 {
		t.Errorf("%d changes told apart, all: %t", len(s.dirty), s.all)
	}
	// A write of long ago is forgotten.
	time.Sleep(2 * s.settle)
	s.tidy = 0
	s.refresh("index.html", time.Now())
	if len(s.fresh) != 1 {
		t.Errorf("%d objects count as being written", len(s.fresh))
	}
}

func newWatching(t *testing.T) *watching {
	t.Helper()
	s := &watching{Watch: &Watch{}, dirty: map[layout.Key]time.Time{}, settle: time.Millisecond, delay: time.Hour, rescan: time.Hour, scanned: time.Now()}
	s.dir, s.fresh = "/tree", map[layout.Key]time.Time{}
	return s
}

func TestWatchDue(t *testing.T) {
	s := newWatching(t)
	s.settle, s.delay = time.Minute, 10*time.Minute
	now := time.Now()
	within := func(what string, want time.Duration) {
		t.Helper()
		if got := s.due().Sub(now); got < want-time.Second || got > want+time.Second {
			t.Errorf("%s: due in %v, want %v", what, got, want)
		}
	}
	within("nothing changed", time.Hour)
	s.add("index.html", now)
	within("a change", time.Minute)
	s.add("robots.txt", now.Add(30*time.Second))
	within("another one", 90*time.Second)
	s.add("robots.txt", now.Add(20*time.Minute))
	within("no end of changes", 10*time.Minute)
	s.finish(passed{keys: []layout.Key{"index.html"}, err: fmt.Errorf("no route")})
	s.pause = now.Add(15 * time.Minute)
	within("after a failure", 15*time.Minute)
}

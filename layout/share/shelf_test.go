package share

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestShelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShelf[int](10, time.Minute)
		has := func(c Client, name string, want int) {
			t.Helper()
			if got, _, ok := s.Get(c, name); ok != (want != 0) || got != want {
				t.Errorf("%s has %d under %s, want %d", c, got, name, want)
			}
		}
		s.Put("alice", "x", 1)
		s.Put("mallory", "x", 2)
		has("alice", "x", 1)
		for i := range 100 {
			time.Sleep(time.Millisecond)
			s.Put("mallory", fmt.Sprint(i), i+1)
		}
		has("alice", "x", 1)
		has("mallory", "x", 0)
		has("mallory", "91", 92)
		has("mallory", "90", 0)
		if s.n != 10 || len(s.clients["mallory"]) != 9 {
			t.Errorf("%d things, %d of one client", s.n, len(s.clients["mallory"]))
		}
		s.Put("alice", "x", 3) // in the place of the first
		has("alice", "x", 3)
		has("mallory", "91", 92)
		if !s.Remove("alice", "x") || s.Remove("alice", "x") {
			t.Error("what is removed once is gone")
		}
		time.Sleep(time.Minute)
		has("mallory", "91", 0)
		if s.n != 8 {
			t.Errorf("%d things after one was too old, want 8", s.n)
		}
	})
}

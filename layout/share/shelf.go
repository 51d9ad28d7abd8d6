package share

import (
	"sync"
	"time"
)

// A Shelf keeps small things for clients in memory, each client's apart from
// those of others. If there are too many, the oldest thing of the client that
// has most makes room, so that no client loses things to those of another. It is
// safe for concurrent use.
type Shelf[T any] struct {
	most int
	keep time.Duration

	mu      sync.Mutex
	n       int
	clients map[Client]map[string]shelved[T]
}

type shelved[T any] struct {
	value T
	since time.Time
}

// NewShelf returns a shelf for so many things, each of which is kept no longer
// than keep.
func NewShelf[T any](most int, keep time.Duration) *Shelf[T] {
	return &Shelf[T]{most: most, keep: keep, clients: map[Client]map[string]shelved[T]{}}
}

// Get returns what a client put under a name, and when.
func (s *Shelf[T]) Get(c Client, name string) (value T, since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.clients[c][name]
	if ok && time.Since(found.since) >= s.keep {
		s.remove(c, name)
		return value, since, false
	}
	return found.value, found.since, ok
}

// Put puts a thing under a name, in the place of what the client had there.
func (s *Shelf[T]) Put(c Client, name string, value T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(c, name)
	for s.n >= s.most {
		s.makeRoom()
	}
	if s.clients[c] == nil {
		s.clients[c] = map[string]shelved[T]{}
	}
	s.clients[c][name] = shelved[T]{value, time.Now()}
	s.n++
}

// Remove removes what a client put under a name, and reports whether there was
// something.
func (s *Shelf[T]) Remove(c Client, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(c, name)
}

func (s *Shelf[T]) remove(c Client, name string) bool {
	if _, ok := s.clients[c][name]; !ok {
		return false
	}
	s.n--
	if delete(s.clients[c], name); len(s.clients[c]) == 0 {
		delete(s.clients, c)
	}
	return true
}

// makeRoom removes the oldest thing of the client that has most.
func (s *Shelf[T]) makeRoom() {
	var most Client
	for c, all := range s.clients {
		if len(all) > len(s.clients[most]) {
			most = c
		}
	}
	oldest, first := "", true
	for name, thing := range s.clients[most] {
		if first || thing.since.Before(s.clients[most][oldest].since) {
			oldest, first = name, false
		}
	}
	s.remove(most, oldest)
}

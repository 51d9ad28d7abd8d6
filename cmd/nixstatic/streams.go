package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// streamsOfOne is how many requests one HTTP/2 connection may have under way. A
	// Nix has 25.
	streamsOfOne = 64
	// streamWait is how long a request waits for its place. A Nix gives up after
	// five minutes without an answer.
	streamWait = 4 * time.Minute
	// streamHurry is how long a client has to take the next 256 KiB of an answer
	// while clients with fewer requests wait.
	streamHurry = 15 * time.Second
)

// A streamLimit bounds the requests that are under way over HTTP/2. Over HTTP/1 a
// connection has one at a time, and connections are bounded; over HTTP/2 it has any
// number, each of which may have files open. Networks share the places.
type streamLimit struct {
	http.Handler
	places *share.Pool
}

// ServeHTTP answers a request when it has a place.
func (l *streamLimit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		l.Handler.ServeHTTP(w, r)
		return
	}
	s := &stream{ctl: http.NewResponseController(w)}
	place, err := l.places.Take(share.Hurried(share.As(r.Context(), share.ClientOf("", r.RemoteAddr)), s.hurry), 1)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "too many requests are under way, try again later", http.StatusServiceUnavailable)
		return
	}
	defer place.Release()
	defer s.end()
	l.Handler.ServeHTTP(w, r)
}

// A stream is a request that has a place.
type stream struct {
	ctl *http.ResponseController

	mu    sync.Mutex
	until time.Time // when its client has to have taken what is being sent
	ended bool
}

// hurry is told that another client waits. Whenever the client takes a piece of the
// answer, it has its usual time for the next.
func (s *stream) hurry(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !s.ended && now.After(s.until) {
		s.until = now.Add(streamHurry)
		s.ctl.SetWriteDeadline(s.until)
	}
}

// end waits for hurry: nothing may be asked of a request that has ended.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// streamsOfOne is how many requests one HTTP/2 connection may have under way. A
	// Nix has 25.
	streamsOfOne = 32
	// streamWait is how long a request waits for its place. A Nix gives up after
	// five minutes without an answer.
	streamWait = 4 * time.Minute
	// streamHurry is how long a client has to take the next 256 KiB of an answer
	// while clients with fewer requests wait.
	streamHurry = 15 * time.Second
	// takeTime is how long a client may take nothing of what its connection is sent over
	// HTTP/2, before that ends: no request on it can end before.
	takeTime = time.Minute
	// ownTime is how long a client has to take what net/http itself answers over HTTP/2, as
	// to a request whose headers are wrong or too large: no handler is asked for it.
	ownTime = headTime
	// mostRefused is how many requests that find no place are answered at the same time.
	// Others end without an answer: a client that takes none holds each for a while.
	mostRefused = 256
	refusalTime = 5 * time.Second
)

// A streamLimit bounds the requests that are under way over HTTP/2. Over HTTP/1 a
// connection has one at a time, and connections are bounded; over HTTP/2 it has any
// number, each of which may have files open. Networks share the places, and the memory
// for heads.
type streamLimit struct {
	http.Handler
	places, heads *share.Pool
	refused       atomic.Int64
}

// ServeHTTP answers a request when it has a place.
func (l *streamLimit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &stream{ctl: http.NewResponseController(w)}
	s.ctl.SetWriteDeadline(time.Time{}) // ownTime is for others
	if r.ProtoMajor < 2 {
		l.Handler.ServeHTTP(w, r)
		return
	}
	ctx := share.As(r.Context(), share.ClientOf("", r.RemoteAddr))
	if more := headBytes(r) - freeHead; more > 0 {
		part, err := l.heads.Take(ctx, more)
		if err != nil {
			l.refuse(w, s.ctl)
			return
		}
		defer part.Release()
	}
	place, err := l.places.Take(share.Hurried(ctx, s.hurry), 1)
	if err != nil {
		l.refuse(w, s.ctl)
		return
	}
	defer place.Release()
	defer s.end()
	l.Handler.ServeHTTP(w, r)
}

// refuse answers a request that has no place, with nothing that needs a window of the
// client.
func (l *streamLimit) refuse(w http.ResponseWriter, ctl *http.ResponseController) {
	defer l.refused.Add(-1)
	if l.refused.Add(1) > mostRefused {
		panic(http.ErrAbortHandler)
	}
	ctl.SetWriteDeadline(time.Now().Add(refusalTime))
	h := w.Header()
	h.Set("Retry-After", "10")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusServiceUnavailable)
	ctl.Flush()
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

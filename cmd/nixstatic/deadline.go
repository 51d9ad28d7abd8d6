package main

import (
	"sync"
	"time"
)

// A deadline is until when a connection may read, or write. The HTTP server moves it
// several times with each request, and each move of a socket's own deadline moves a timer
// of the runtime. This one has a timer that is moved only to fire earlier: if it fires
// before the deadline, it is set anew. The deadline of the socket is set only when this one
// has passed.
type deadline struct {
	set     func(time.Time) error // of the socket
	counted bool                  // calls are told to enter and leave: the socket matters to those alone

	mu     sync.Mutex
	until  time.Time // zero: for ever
	fires  time.Time // when the timer does; zero: it does not
	timer  *time.Timer
	calls  int  // that are under way
	passed bool // no call may begin
	told   bool // and the socket knows
	over   bool
}

// longAgo is after the deadline by which the HTTP server ends a Read that is under way, in
// 1970, and needs no look at the clock.
var longAgo = time.Unix(1e6, 0)

// move sets the deadline. It has an effect at once if it has passed.
func (d *deadline) move(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = t
	switch {
	case t.IsZero():
	case t.Before(longAgo):
		return d.pass()
	case d.fires.IsZero() || t.Before(d.fires):
		wait := time.Until(t)
		if wait <= 0 {
			return d.pass()
		}
		d.wake(wait)
	}
	d.passed = false
	if !d.told {
		return nil
	}
	d.told = false
	return d.set(time.Time{})
}

// pass ends what is under way. The lock is held.
func (d *deadline) pass() error {
	d.passed = true
	if d.counted && d.calls == 0 {
		return nil
	}
	d.told = true
	return d.set(longAgo)
}

// enter is told that a call is about to begin, and reports whether it may. The HTTP server
// begins a Read in each request and mostly ends it before it has begun: that needs no socket.
func (d *deadline) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed {
		return false
	}
	d.calls++
	return true
}

// leave is told that a call has ended.
func (d *deadline) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls--
}

// wake has the timer fire at the deadline. The lock is held.
func (d *deadline) wake(wait time.Duration) {
	if d.over {
		return
	}
	if d.fires = d.until; d.timer == nil {
		d.timer = time.AfterFunc(wait, d.look)
		return
	}
	d.timer.Reset(wait)
}

// look is called when the timer fires.
func (d *deadline) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fires = time.Time{}
	if d.until.IsZero() || d.over || d.passed {
		return
	}
	if wait := time.Until(d.until); wait > 0 {
		d.wake(wait)
		return
	}
	d.pass()
}

// end is told that the connection is closed.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

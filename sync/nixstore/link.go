package nixstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// drainTime is how long the rest of an abandoned call may take before its
// connection is given up.
const drainTime = 5 * time.Second

// errLost is the end of a connection in the middle of a call.
var errLost = errors.New("lost the connection to the Nix daemon")

var errClosed = fmt.Errorf("the store is closed: %w", fs.ErrClosed)

// A link is a connection that is made when it is needed and made anew when it
// broke. A single call at a time uses it.
type link struct {
	connect func(context.Context) (*conn, error)
	turn    chan struct{} // holds one token while a call uses the connection

	mu     sync.Mutex
	conn   *conn // nil before the first call and after a failure
	closed bool
}

func newLink(connect func(context.Context) (*conn, error)) *link {
	return &link{connect: connect, turn: make(chan struct{}, 1)}
}

// use runs talk with the connection, and once more with a new one if the
// connection was from an earlier call and broke: daemons are restarted. talk
// must not mind being run twice.
//
// When ctx ends use returns at once, but talk goes on until the replies to what it
// has sent are read: dropping them would leave the stream out of step, and dropping
// the connection would lose the roots that it holds. So talk has to look at ctx
// before it sends something, not before it reads, and its results may be looked at
// only if use succeeds.
func (l *link) use(ctx context.Context, talk func(context.Context, *conn) error) error {
	for {
		fresh, err := l.attempt(ctx, talk)
		if fresh || ctx.Err() != nil || !errors.Is(err, errLost) {
			return err
		}
	}
}

func (l *link) attempt(ctx context.Context, talk func(context.Context, *conn) error) (fresh bool, err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	c, fresh, err := l.current(ctx)
	if err != nil {
		<-l.turn
		return fresh, err
	}
	done := make(chan error, 1)
	go func() { // ends with talk, which ends with the connection if not before
		err := talk(ctx, c)
		if c.in.err != nil {
			l.drop(c)
			err = fmt.Errorf("%w: %w", errLost, c.explain(cmp.Or(err, c.in.err)))
		}
		<-l.turn
		done <- err
	}()
	select {
	case err := <-done:
		return fresh, err
	case <-ctx.Done():
	}
	go func() { // ends after drainTime
		select {
		case <-done:
		case <-time.After(drainTime):
			c.Close()
		}
	}()
	return fresh, context.Cause(ctx)
}

// current returns the connection, and whether it had to be made.
func (l *link) current(ctx context.Context) (c *conn, fresh bool, err error) {
	l.mu.Lock()
	c, closed := l.conn, l.closed
	l.mu.Unlock()
	switch {
	case closed:
		return nil, false, errClosed
	case c != nil:
		return c, false, nil
	}
	if c, err = l.connect(ctx); err != nil {
		return nil, true, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		c.wait()
		return nil, true, errClosed
	}
	l.conn = c
	return c, true, nil
}

func (l *link) drop(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == c {
		l.conn = nil
	}
	c.Close()
}

// close ends the connection, waits for a call under way to notice and for a
// spawned daemon to end. A second close does nothing.
func (l *link) close() {
	l.mu.Lock()
	c := l.conn
	l.closed = true
	l.mu.Unlock()
	if c == nil {
		return
	}
	c.Close()
	l.turn <- struct{}{}
	<-l.turn
	c.wait()
}

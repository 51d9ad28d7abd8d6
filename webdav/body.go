package webdav

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	defaultStall = time.Minute
	// slowest is how many bytes of a body have to come within one stall. A client
	// that sends a byte now and then would otherwise keep its place for ever.
	slowest = 16 << 10
	// drainTime is how long the rest of a refused body is read, and drainPause how
	// long nothing of it may come meanwhile.
	drainTime  = 5 * time.Second
	drainPause = time.Second
	// drainFirst is how much of one is read before the answer, to keep the
	// connection.
	drainFirst = 1 << 20
)

// errStalled is what reading a body ends with when its client is too slow.
var errStalled = errors.New("the body stopped coming")

// A body is what a client sends, under a deadline that moves as bytes come. Time
// in which we do not read does not count against the client.
type body struct {
	from  io.ReadCloser
	ctl   *http.ResponseController
	stall time.Duration

	n       int64 // bytes of the whole body so far
	touched bool  // a client that waits for 100 Continue has got it
	eof     bool
	// http2: a deadline that passes there ends the body for good, even between two
	// Reads. It is taken away after each Read.
	http2 bool

	mu      sync.Mutex
	window  int           // bytes since the last time that enough had come
	spent   time.Duration // in waiting for the rest of the window, before reading
	reading time.Time     // since when; zero: not
	pace    time.Duration // the time for a window, while others wait
	hurried time.Time     // when they did last
}

// noBody is the body of a request without one. It is never changed.
var noBody = &body{eof: true}

// newBody takes charge of a request's body. The request keeps its own: if it
// had ours, the server would not know that its client waits for 100 Continue,
// and would ask for a body that was refused.
func newBody(w http.ResponseWriter, r *http.Request, stall time.Duration) *body {
	if r.Body == nil || r.Body == http.NoBody {
		return noBody
	}
	b := &body{from: r.Body, ctl: http.NewResponseController(w), stall: stall, http2: r.ProtoMajor == 2}
	// Asking for the body writes 100 Continue, and the deadline of the answer
	// before this one may have passed.
	b.ctl.SetWriteDeadline(time.Time{})
	b.leave()
	return b
}

// Read returns what has come.
func (b *body) Read(p []byte) (int, error) {
	if b.eof {
		return 0, io.EOF
	}
	b.mu.Lock()
	b.reading = time.Now()
	b.ctl.SetReadDeadline(b.reading.Add(b.allowed() - b.spent))
	b.mu.Unlock()
	return b.read(p)
}

// read reads until the deadline that is set.
func (b *body) read(p []byte) (int, error) {
	b.touched = true
	n, err := b.from.Read(p)
	b.n += int64(n)
	b.mu.Lock()
	if !b.reading.IsZero() {
		b.spent += time.Since(b.reading)
		b.reading = time.Time{}
	}
	if b.window += n; b.window >= slowest {
		b.window, b.spent = 0, 0
	}
	b.mu.Unlock()
	b.eof = err == io.EOF
	if b.eof || b.http2 {
		// At the end of a body the server begins to watch the connection, and would
		// take the deadline for the end of that.
		b.ctl.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %d bytes came", errStalled, b.n)
	}
	return n, err
}

// allowed is the time for a window.
func (b *body) allowed() time.Duration {
	if time.Since(b.hurried) > hurriedFor {
		return b.stall
	}
	return b.pace
}

// hurry is told that another client waits for the place of this one. The longer
// it does, the faster the body has to come: with a stall of a minute 1 KiB in a
// second, then 4, then 16.
func (b *body) hurry(waited time.Duration) {
	pace := b.stall / 60
	switch {
	case waited < b.stall/4:
		return
	case waited < b.stall:
		pace = b.stall / 4
	case waited < 2*b.stall:
		pace = b.stall / 15
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	again := now.Sub(b.hurried) <= hurriedFor && pace == b.pace
	b.hurried, b.pace = now, pace
	if again {
		return
	}
	b.window, b.spent = 0, 0 // what came before was asked for more slowly
	if !b.reading.IsZero() {
		b.reading = now
		b.ctl.SetReadDeadline(now.Add(pace))
	}
}

// Close is for http.Request; the server closes the body.
func (b *body) Close() error { return nil }

// drain reads what is left of a body after an answer was decided on, for no
// longer than drainTime, and reports whether it came to the end.
func (b *body) drain() bool {
	buf := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	for end := time.Now().Add(drainTime); !b.eof; {
		b.ctl.SetReadDeadline(time.Now().Add(min(drainPause, time.Until(end))))
		if _, err := b.read(buf[:]); err != nil && err != io.EOF {
			break
		}
	}
	return b.eof
}

// leave sees to it that the server, which over HTTP/1 reads a little of what we
// left unread before it answers, does not wait for it for ever.
func (b *body) leave() {
	if !b.eof && !b.http2 {
		// Less than the answer has to be taken in: its time may be running already.
		b.ctl.SetReadDeadline(time.Now().Add(min(drainTime, b.stall/2)))
	}
}

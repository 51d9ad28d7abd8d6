package webdav

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// sendChunk is how much of an answer goes out under one deadline. It is large
// enough for sendfile to be as fast as without, and small enough that a client
// on a slow line takes it in time.
const sendChunk = 256 << 10

// A response remembers what was answered, and sees to it that a client takes
// the answer: one that takes nothing for as long as stall loses its connection.
// It passes io.ReaderFrom on, by which a file goes out without passing through
// this process.
type response struct {
	http.ResponseWriter
	target target // of the request, which ends with the answer
	stall  time.Duration
	status int // 0 before the header is written
	n      int64
}

var responses = sync.Pool{New: func() any { return new(response) }}

type writeDeadliner interface{ SetWriteDeadline(time.Time) error }

// extend gives the client another stall to take what comes next.
func (w *response) extend() { w.until(time.Now().Add(w.stall)) }

// until gives the client that long to take what comes next.
func (w *response) until(end time.Time) {
	if conn, ok := w.ResponseWriter.(writeDeadliner); ok {
		conn.SetWriteDeadline(end)
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeWhole answers with a small object, to a request that came just now: the client has
// its time from then on, which saves a look at the clock.
func (w *response) writeWhole(text []byte, now time.Time) {
	w.status = http.StatusOK
	w.until(now.Add(w.stall))
	w.Write(text)
}

// WriteHeader sends the status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		w.extend()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends bytes of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// ReadFrom sends what src holds, chunk by chunk. An *io.LimitedReader is taken
// apart, so that the file in it reaches the connection.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	limit, limited := src.(*io.LimitedReader)
	if limited {
		src = limit.R
	}
	var sum int64
	for {
		size := int64(sendChunk)
		if limited {
			size = min(size, limit.N)
		}
		w.extend()
		n, err := w.send(&io.LimitedReader{R: src, N: size})
		sum += n
		w.n += n
		if limited {
			limit.N -= n
		}
		if err != nil || n < size || limited && limit.N == 0 {
			return sum, err
		}
	}
}

func (w *response) send(part *io.LimitedReader) (int64, error) {
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(part)
	}
	buf := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, part, buf[:])
}

var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

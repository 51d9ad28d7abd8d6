package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// maxHeads bounds the bytes of the heads of requests, which are read or under way: a
	// head of 36 KiB may have six thousand headers, and takes twelve times as much memory.
	// Networks share them.
	maxHeads = 8 << 20
	// freeHead is how many bytes of each head do not count: few honest clients send as
	// many. freeSecure is the same over TLS, where there are fewer connections and a
	// handshake comes before.
	freeHead, freeSecure = 2 << 10, 8 << 10
	// fieldBytes is what a header counts beside its bytes over HTTP/2, where it may be one
	// byte on the way.
	fieldBytes = 32
)

func newHeads() *share.Pool { return share.NewPool(maxHeads, 0) }

// errHeads closes a connection without an answer: clients try again.
var errHeads = &net.OpError{Op: "read", Err: errors.New("the heads of too many requests are large")}

// A head is what a connection has read of a request, up to its body.
type head struct {
	mu    sync.Mutex
	n     int64
	part  *share.Part // of what is not free
	whole bool        // its handler runs: what comes is body
	http2 bool        // there is no end to it: each request counts for itself
}

// read reads from a connection, and counts.
func (c *limitedConn) read(from net.Conn, p []byte) (int, error) {
	n, err := from.Read(p)
	if more := c.reads(n); more != nil {
		return 0, more
	}
	return n, err
}

// reads counts what a connection has read.
func (c *limitedConn) reads(n int) error {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.whole {
		return nil
	}
	free := int64(freeHead)
	if c.limit.secure {
		free = freeSecure
	}
	h.n += int64(n)
	more := h.n - free
	if more <= 0 {
		return nil
	}
	ctx, err := share.As(context.Background(), c.network), error(nil)
	if h.part == nil {
		h.part, err = c.limit.heads.Take(ctx, more)
	} else {
		err = h.part.Resize(ctx, more)
	}
	if err != nil {
		return errHeads
	}
	return nil
}

// handles is told that the head of a request is whole. It counts until the request ends.
func (c *limitedConn) handles(http2 bool) {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.whole = true; http2 {
		h.http2 = true
		h.end()
	}
}

// handled is told that a request has ended, so that the next one may begin.
func (c *limitedConn) handled() {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole = h.http2
	h.end()
}

// ended is told that the connection is closed: what a Read returns by now takes nothing.
func (c *limitedConn) ended() {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole = true
	h.end()
}

func (h *head) end() {
	h.part.Release()
	h.n, h.part = 0, nil
}

type connKey struct{}

// countHeads tells connections where the heads of their first requests over HTTP/2 end.
func countHeads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor >= 2 {
			if c, ok := r.Context().Value(connKey{}).(*limitedConn); ok {
				c.handles(true)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// headBytes is what the head of a request over HTTP/2 counts.
func headBytes(r *http.Request) int64 {
	n := int64(len(r.RequestURI))
	for name, values := range r.Header {
		for _, value := range values {
			n += int64(len(name) + len(value) + fieldBytes)
		}
	}
	return n
}

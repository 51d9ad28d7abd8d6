package main

import (
	"sync"
	"time"
)

// maxUntaken is how many bytes are read from a connection while what is sent there stands
// still, because the client takes nothing. Over HTTP/2 each frame of some bytes may need
// an answer, and the server keeps ten thousand of them for each connection, which is a
// megabyte. A client that reads at all is not held up: what it sends waits in the kernels.
const maxUntaken = 16 << 10

// A limitedSecure is read no more while a write to it stands still.
type limitedSecure struct {
	*limitedTCP

	mu      sync.Mutex
	writing bool
	read    int           // since the write began
	moved   chan struct{} // closed when a read that waits may go on; nil: none waits
}

// Write writes.
func (c *limitedSecure) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writing, c.read = true, 0
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
		c.goOn()
	}()
	return c.limitedTCP.Write(p)
}

// Read reads, unless the client takes nothing of what it is sent.
func (c *limitedSecure) Read(p []byte) (int, error) {
	c.mu.Lock()
	var moved chan struct{}
	if c.writing && c.read >= maxUntaken {
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved = c.moved
	}
	c.mu.Unlock()
	if moved != nil {
		<-moved
	}
	n, err := c.limitedTCP.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += n
	return n, err
}

// Close ends a Read that waits.
func (c *limitedSecure) Close() error {
	defer c.goOn()
	return c.limitedTCP.Close()
}

// goOn lets a Read go on that waits: to bytes, or to the error that there is.
func (c *limitedSecure) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// setReadDeadline is told when the deadline for a Read passes, or is taken back.
func (c *limitedSecure) setReadDeadline(t time.Time) error {
	defer c.goOn()
	return c.TCPConn.SetReadDeadline(t)
}

//go:build real

package mirror_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A line carries connections to a server, and can be cut, held up and slowed.
type line struct {
	URL string // http://127.0.0.1:port

	target   string
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[*net.TCPConn]bool
	rate  int // bytes a second in each direction; 0 for as fast as it goes
	dead  bool
}

// newLine makes a line to a server until the test ends.
func newLine(t *testing.T, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{URL: "http://" + listener.Addr().String(), target: target, listener: listener, conns: map[*net.TCPConn]bool{}}
	l.all.Go(l.serve)
	t.Cleanup(func() {
		listener.Close()
		l.cut(true)
		l.all.Wait()
	})
	return l
}

func (l *line) serve() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.all.Go(func() { l.carry(in.(*net.TCPConn)) })
	}
}

// carry joins two connections until one of them ends.
func (l *line) carry(in *net.TCPConn) {
	defer l.drop(in)
	if !l.keep(in) {
		return
	}
	conn, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	out := conn.(*net.TCPConn)
	defer l.drop(out)
	if !l.keep(out) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		l.copy(in, out)
		l.drop(in)
	})
	l.copy(out, in)
	l.drop(out)
	back.Wait()
}

// keep notes a connection, so that it can be cut.
func (l *line) keep(c *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	return !l.dead
}

// drop closes a connection. The other side sees it reset if bytes are lost.
func (l *line) drop(c *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	c.Close()
}

func (l *line) copy(to io.Writer, from io.Reader) {
	piece := make([]byte, 4<<10)
	for {
		n, err := from.Read(piece)
		l.mu.Lock()
		rate := l.rate
		l.mu.Unlock()
		if rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if _, writeErr := to.Write(piece[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// cut resets all connections; a dead line takes no others.
func (l *line) cut(dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = dead
	for c := range l.conns {
		c.SetLinger(0)
		c.Close()
	}
}

func (l *line) slow(rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

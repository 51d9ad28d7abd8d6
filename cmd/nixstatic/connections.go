package main

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// spareFiles are the files that a server has open beside those of requests and those of
	// keptFiles: for NARs that are put together and narinfos that are published in the
	// background, and a part of them as connections that ask for metrics.
	spareFiles = 64
	// mostConnections bounds what connections cost in memory. Each has some tens of
	// kilobytes, and over HTTP/2 the bytes that the server has not read yet.
	mostConnections = 4096
	// http2Buffer is how many those are, and mostSecure how many connections may have
	// them: TLS is where HTTP/2 is spoken.
	http2Buffer = 256 << 10
	mostSecure  = 1024
	// mostLeaving bounds the requests whose connections made room for others: each has its
	// files until it notices. leavingPatience is how long a new connection waits for one of them.
	mostLeaving     = 16
	leavingPatience = time.Second
)

// A connectionLimit is a listener whose connections leave the process files for
// its work: two for each. Clients share them by their networks,
// as no token was shown yet. The network that has most makes room for others by
// its oldest connection that waits for a request, or else by its oldest of all. So
// a flood of connections from one place takes none from others.
type connectionLimit struct {
	net.Listener
	most   int
	secure bool        // TLS is spoken, and so perhaps HTTP/2
	heads  *share.Pool // of bytes; nil: no bound

	mu       sync.Mutex
	n        int
	networks map[share.Client][]*limitedConn // the oldest first
	leaving  int                             // connections that were closed here, with requests that have not ended
	left     chan struct{}                   // tells that one of them has
}

func limitConnections(l net.Listener, most int) *connectionLimit {
	return &connectionLimit{Listener: l, most: most, networks: map[share.Client][]*limitedConn{}, left: make(chan struct{}, 1)}
}

// connectionsFor returns how many connections a process may have that may open so
// many files, and how many requests over HTTP/2, which comes with TLS. A connection
// is a file, and each request may open two at a time: an upload and the folder that it
// goes to.
func connectionsFor(files uint64, secure bool) (connections, streams int) {
	spare := spareFiles + uint64(keptFiles(files))
	files = max(files, 2*spare) - spare
	if secure {
		return int(min(mostSecure, files/5)), int(min(mostConnections, files/5))
	}
	return int(min(mostConnections, files/3)), 0
}

// keptFiles returns how many files an inbox may keep open for what clients sent of paths
// that are not whole yet.
func keptFiles(files uint64) int { return int(min(256, files/8)) }

// openFiles is how many files the process may open.
func openFiles() uint64 {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 2 * mostConnections
	}
	return uint64(files.Cur)
}

// Accept returns the next connection that there is room for.
func (l *connectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		conn.Close()
	}
}

// admit makes room for a connection, and returns nil if its own network has most, or if
// too many requests are about to end and do not.
func (l *connectionLimit) admit(conn net.Conn) net.Conn {
	c := &limitedConn{limit: l, network: share.ClientOf("", conn.RemoteAddr().String()), conn: conn}
	c.reading.set, c.writing.set = conn.SetReadDeadline, conn.SetWriteDeadline
	for begun := time.Now(); !l.take(c); {
		wait := leavingPatience - time.Since(begun)
		if wait <= 0 || !l.crowded() {
			return nil
		}
		select {
		case <-l.left:
		case <-time.After(wait):
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		counted := &limitedTCP{tcp, c}
		if l.secure {
			s := &limitedSecure{limitedTCP: counted}
			c.reading.set = s.setReadDeadline
			return s
		}
		c.reading.counted = true
		return counted
	}
	return &limitedOther{conn, c}
}

// take counts a connection, in the place of another one if need be, and reports false if
// it cannot.
func (l *connectionLimit) take(c *limitedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n >= l.most {
		victim := l.victim(c.network)
		if victim == nil {
			return false
		}
		active := victim.active.Load()
		if active && l.leaving >= mostLeaving {
			return false
		}
		l.remove(victim)
		if active {
			victim.leaving = true
			l.leaving++
		}
		victim.conn.Close()
	}
	l.n++
	l.networks[c.network] = append(l.networks[c.network], c)
	return true
}

// crowded reports whether a connection may find room when a request has ended.
func (l *connectionLimit) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaving >= mostLeaving
}

// victim returns the connection that makes room for one of a network: of the
// network that has most, if that still has as many afterwards.
func (l *connectionLimit) victim(network share.Client) *limitedConn {
	largest := network
	for other, conns := range l.networks {
		if len(conns) > len(l.networks[largest]) {
			largest = other
		}
	}
	conns := l.networks[largest]
	if len(conns) <= len(l.networks[network])+1 {
		return nil
	}
	if i := slices.IndexFunc(conns, func(c *limitedConn) bool { return !c.active.Load() }); i >= 0 {
		return conns[i]
	}
	return conns[0]
}

func (l *connectionLimit) remove(c *limitedConn) {
	conns := l.networks[c.network]
	i := slices.Index(conns, c)
	if i < 0 {
		return // it was closed before
	}
	l.n--
	if conns = slices.Delete(conns, i, i+1); len(conns) == 0 {
		delete(l.networks, c.network)
		return
	}
	l.networks[c.network] = conns
}

// noticeConnection is told by the HTTP server what a connection does.
func noticeConnection(conn net.Conn, state http.ConnState) {
	c, ok := limitedOf(conn)
	if !ok {
		return
	}
	c.active.Store(state == http.StateActive)
	switch state {
	case http.StateActive: // over HTTP/1, where the head of a request was read
		c.handles(false)
	case http.StateIdle:
		c.handled()
	}
}

// limitedOf returns what counts a connection.
func limitedOf(conn net.Conn) (*limitedConn, bool) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(interface{ limited() *limitedConn })
	if !ok {
		return nil, false
	}
	return c.limited(), true
}

// A limitedConn is a connection that counts.
type limitedConn struct {
	limit   *connectionLimit
	network share.Client
	conn    net.Conn
	active  atomic.Bool // a request is under way
	leaving bool        // it was closed here, and the server has not closed it yet

	reading, writing deadline
	head             head
}

// closed is told that the server has closed the connection: its requests have ended.
func (c *limitedConn) closed() {
	c.reading.end()
	c.writing.end()
	c.ended()
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.leaving {
		c.leaving = false
		l.leaving--
		select {
		case l.left <- struct{}{}:
		default:
		}
	}
	l.remove(c)
}

// SetDeadline sets until when the connection may read and write.
func (c *limitedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.reading.move(t), c.writing.move(t))
}

// SetReadDeadline sets until when it may read.
func (c *limitedConn) SetReadDeadline(t time.Time) error { return c.reading.move(t) }

// SetWriteDeadline sets until when it may write.
func (c *limitedConn) SetWriteDeadline(t time.Time) error { return c.writing.move(t) }

// A limitedTCP passes io.ReaderFrom on, by which files go out without passing
// through this process.
type limitedTCP struct {
	*net.TCPConn
	counted *limitedConn
}

func (c *limitedTCP) limited() *limitedConn { return c.counted }

// Read reads what has come.
func (c *limitedTCP) Read(p []byte) (int, error) {
	if !c.counted.reading.enter() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.counted.read(c.TCPConn, p)
	c.counted.reading.leave()
	return n, err
}

// SetDeadline, SetReadDeadline and SetWriteDeadline set those that count.
func (c *limitedTCP) SetDeadline(t time.Time) error      { return c.counted.SetDeadline(t) }
func (c *limitedTCP) SetReadDeadline(t time.Time) error  { return c.counted.reading.move(t) }
func (c *limitedTCP) SetWriteDeadline(t time.Time) error { return c.counted.writing.move(t) }

// Close closes the connection, which counts no more.
func (c *limitedTCP) Close() error {
	defer c.counted.closed()
	return c.TCPConn.Close()
}

type limitedOther struct {
	net.Conn
	counted *limitedConn
}

func (c *limitedOther) limited() *limitedConn { return c.counted }

// Read reads.
func (c *limitedOther) Read(p []byte) (int, error) { return c.counted.read(c.Conn, p) }

// SetDeadline, SetReadDeadline and SetWriteDeadline set those that count.
func (c *limitedOther) SetDeadline(t time.Time) error      { return c.counted.SetDeadline(t) }
func (c *limitedOther) SetReadDeadline(t time.Time) error  { return c.counted.reading.move(t) }
func (c *limitedOther) SetWriteDeadline(t time.Time) error { return c.counted.writing.move(t) }

// Close closes the connection, which counts no more.
func (c *limitedOther) Close() error {
	defer c.counted.closed()
	return c.Conn.Close()
}

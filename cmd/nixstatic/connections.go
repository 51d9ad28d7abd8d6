package main

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// spareFiles are the files that a server has open beside those of requests.
	spareFiles = 64
	// mostConnections bounds what connections cost in memory. Each has some tens of
	// kilobytes, and over HTTP/2 the bytes that it sent and the server has not read
	// yet.
	mostConnections = 4096
	// http2Buffer is how much that is.
	http2Buffer = 256 << 10
)

// A connectionLimit is a listener whose connections leave the process files for its
// work: half of those that it may open. Clients share them by their networks, as no
// token has been shown yet, and a client with too many is hung up on. So a flood of
// connections from one place leaves room for others.
type connectionLimit struct {
	net.Listener
	room *share.Pool
}

func limitConnections(l net.Listener) net.Listener {
	most := int64(mostConnections)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		most = max(2, min(most, (int64(min(files.Cur, 1<<30))-spareFiles)/2))
	}
	return &connectionLimit{l, share.NewPool(most, 0)}
}

// Accept returns the next connection that there is room for.
func (l *connectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		part, err := l.room.Take(share.As(context.Background(), share.ClientOf("", conn.RemoteAddr().String())), 1)
		if err != nil {
			conn.Close()
			continue
		}
		c := &limitedConn{Conn: conn, release: sync.OnceFunc(part.Release)}
		if tcp, ok := conn.(*net.TCPConn); ok {
			return &limitedTCP{tcp, c.release}, nil
		}
		return c, nil
	}
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// A limitedTCP passes io.ReaderFrom on, by which files go out without passing
// through this process.
type limitedTCP struct {
	*net.TCPConn
	release func()
}

func (c *limitedTCP) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

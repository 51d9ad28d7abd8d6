package main

import (
	"context"
	"net"
	"syscall"

	"github.com/nixstatic/nixstatic/layout/share"
)

// watchConnection has requests notice that their client went. The HTTP server
// notices it by itself once it has read a request to its end, and uploads that wait
// for their turn, or take long, are unread.
func watchConnection(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := limitedOf(conn); ok {
		ctx = context.WithValue(ctx, connKey{}, c)
	}
	return share.Watched(ctx, func() bool {
		raw, ok := rawConn(conn)
		if !ok {
			return false
		}
		gone := false
		err := raw.Control(func(fd uintptr) { gone = hungUp(fd) })
		return err != nil || gone // an error is that of a connection that was closed here
	})
}

// rawConn returns the socket of a connection.
func rawConn(conn net.Conn) (syscall.RawConn, bool) {
	if c, ok := limitedOf(conn); ok {
		conn = c.conn
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := socket.SyscallConn()
	return raw, err == nil
}

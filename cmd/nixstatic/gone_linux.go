package main

import "golang.org/x/sys/unix"

// hungUp reports whether the peer of a socket has ended the connection, whatever
// of it is still unread.
func hungUp(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

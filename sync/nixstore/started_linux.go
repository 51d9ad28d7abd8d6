package nixstore

import "golang.org/x/sys/unix"

// listener returns the process that listens at the other end of a connection.
func listener(fd int) int {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(peer.Pid)
}

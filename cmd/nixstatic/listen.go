package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/nixstatic/nixstatic/layout"
)

// listen opens an address: host:port, or unix:/path.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		l, err := net.Listen("tcp", address)
		if wrong := (*net.AddrError)(nil); errors.As(err, &wrong) {
			err = withHint(err, "want host:port, such as 127.0.0.1:8080 or :8080 for all addresses, or unix:/path")
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			err = withHint(err, "another program has that address: choose one with --listen, such as 127.0.0.1:8081")
		}
		return l, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Tokens say who may, as behind a port; a web server runs as another user.
	if err := os.Chmod(path, 0o666); err != nil {
		if st, statErr := os.Stat(path); statErr != nil || st.Mode().Perm()&0o666 != 0o666 {
			l.Close()
			return nil, &layout.UnableError{What: "let everyone connect to a socket", Err: err}
		}
	}
	return l, nil
}

// removeStale removes a socket that no process listens on any more.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: there is something that is not a socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return withHint(fmt.Errorf("listen on %s: %w", path, syscall.EADDRINUSE), "another program listens there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// inherited returns the sockets that systemd has opened for us, and apart from
// them the one that its unit calls "metrics".
func inherited() (main []net.Listener, metrics net.Listener, err error) {
	byName, err := activation.ListenersWithNames()
	if err != nil {
		return nil, nil, fmt.Errorf("take the sockets of systemd: %w", err)
	}
	for name, listeners := range byName {
		for _, l := range listeners {
			if name == "metrics" && metrics == nil {
				metrics = l
				continue
			}
			main = append(main, l)
		}
	}
	return main, metrics, nil
}

// isLoopback reports whether only this machine reaches an address.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// urlOf returns the URL at which a listener is reached from this machine.
func urlOf(l net.Listener, secure bool) string {
	scheme := "http"
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "unix:" + l.Addr().String()
	}
	if secure {
		scheme = "https"
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

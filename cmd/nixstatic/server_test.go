package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
)

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// failing accepts nothing once, as a process does that has too many files open.
type failing struct {
	net.Listener
	once sync.Once
}

func (f *failing) Accept() (net.Conn, error) {
	var err error
	f.once.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return f.Listener.Accept()
}

// The messages of the HTTP server have their levels in the log: a failure to accept
// and a panic are errors, a client that speaks something else is not.
func TestServerLog(t *testing.T) {
	out := &logged{}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{log: log, handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of cheese") })}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.serve(ctx, &failing{Listener: l}) }()
	if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
		resp.Body.Close()
		t.Errorf("status %d", resp.StatusCode)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"too many open files", "out of cheese"} {
		found := false
		for line := range strings.Lines(out.String()) {
			found = found || strings.Contains(line, want) && strings.Contains(line, "level=ERROR")
		}
		if !found {
			t.Errorf("no error says %q:\n%s", want, out)
		}
	}
	before := out.String()
	io.WriteString(serverLog{log}, "http: TLS handshake error from 192.0.2.1:5: EOF\n")
	if out.String() != before {
		t.Errorf("scanners are logged: %s", out)
	}
}

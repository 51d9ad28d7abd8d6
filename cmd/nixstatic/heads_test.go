package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// Heads that are large, or are never whole, take memory of their own network alone.
func TestHeads(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 1000)
	l.heads = share.NewPool(256<<10, 0)
	release := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/waits" {
			<-release
		}
		io.WriteString(w, "hello")
	})
	hs := (&server{log: slog.New(slog.DiscardHandler)}).newHTTPServer(handler)
	go hs.Serve(l)
	defer hs.Close()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	many := strings.Repeat("a:\r\n", 6000)
	counted := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.networks["127.0.0.2"])
	}
	for _, head := range []string{"GET /waits HTTP/1.1\r\nHost: x\r\n" + many + "\r\n", "GET / HTTP/1.1\r\nHost: x\r\n" + many} {
		var conns []net.Conn
		for range 20 {
			conn := dial("127.0.0.2")
			conns = append(conns, conn)
			io.WriteString(conn, head)
		}
		for counted() > 128/20 { // until all but a few are closed, as there is no room for more
			time.Sleep(time.Millisecond)
		}
		// Another network has room for a head of its own.
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial("127.0.0.1"), nil }}}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 16<<10))
		for range 20 { // one after the other: each gives back what it took
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hello" {
				t.Errorf("another network: %d %q, %v", resp.StatusCode, text, err)
			}
			resp.Body.Close()
		}
		for _, conn := range conns {
			conn.Close()
		}
		if strings.Contains(head, "waits") {
			close(release)
		}
		for counted() > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	// All is given back, which the server does a moment after its answer.
	for {
		part, err := l.heads.Take(share.As(t.Context(), "127.0.0.2"), 128<<10)
		if err == nil {
			part.Release()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

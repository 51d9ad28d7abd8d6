package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// A flood of connections from one network costs others none: the flood loses
// those that it had first.
func TestConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 100)
	l.most = 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	hs := (&server{log: slog.New(slog.DiscardHandler)}).newHTTPServer(handler)
	go hs.Serve(l)
	defer hs.Close()
	from := func(address string) *http.Client {
		return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
			return d.DialContext(ctx, network, to)
		}}}
	}
	url := "http://" + inner.Addr().String()
	steady := from("127.0.0.3") // was there before the flood, and stays
	get := func(c *http.Client, name string) {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	get(steady, "before")
	for range 100 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
		conn, err := d.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range 5 {
		get(from("127.0.0.1"), "another network")
	}
	get(steady, "afterwards")
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := 0
	for _, conns := range l.networks {
		sum += len(conns)
	}
	if l.n > l.most || sum != l.n || len(l.networks["127.0.0.2"]) < 10 {
		t.Errorf("%d connections, %d counted, %d of the flood", sum, l.n, len(l.networks["127.0.0.2"]))
	}
}

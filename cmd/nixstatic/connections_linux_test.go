package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
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

// Requests whose connections made room for others have their files until they end: there
// are few of them, however fast connections come.
func TestRequestsThatLeave(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 40)
	var under, most atomic.Int64
	release := make(chan struct{})
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := under.Add(1)
		defer under.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release // as one that waits for a disk, and for no client
	})
	hs := (&server{log: slog.New(slog.DiscardHandler)}).newHTTPServer(handler)
	go hs.Serve(l)
	defer hs.Close()
	var conns []net.Conn
	dial := func(from string) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(5 * time.Millisecond)
	}
	for range l.most {
		dial("127.0.2.1")
	}
	for n := range 30 { // each network makes the one that has most lose its oldest
		dial(fmt.Sprintf("127.0.1.%d", n+1))
	}
	if n := most.Load(); n > int64(l.most+mostLeaving) {
		t.Errorf("%d requests at a time, with %d connections", n, l.most)
	}
	close(release)
	for _, conn := range conns {
		conn.Close()
	}
	// The server goes on.
	until := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get("http://" + inner.Addr().String())
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout/share"
)

// Requests of one network over HTTP/2, with answers that are not read, take no
// files and no places from others, however many connections they come by.
func TestStreams(t *testing.T) {
	const places = 32
	large := filepath.Join(t.TempDir(), "large")
	file, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	var open, most atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		if r.URL.Path != "/large" {
			io.WriteString(w, "hello")
			return
		}
		n := open.Add(1)
		defer open.Add(-1)
		for have := most.Load(); n > have && !most.CompareAndSwap(have, n); have = most.Load() {
		}
		http.ServeFile(w, r, large)
	})
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	s := &server{log: slog.New(slog.DiscardHandler), tls: &tls.Config{Certificates: cert.TLS.Certificates}}
	hs := s.newHTTPServer(&streamLimit{Handler: handler, places: share.NewPool(places, streamWait)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go hs.ServeTLS(limitConnections(l, 100), "", "")
	defer hs.Close()
	client := func(from string) *http.Client {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
				return d.DialContext(ctx, network, to)
			}}}
	}
	url := "https://" + l.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	var attacks sync.WaitGroup
	answered := make(chan bool, 4*streamsOfOne)
	for range 4 {
		c := client("127.0.0.2")
		for range streamsOfOne {
			attacks.Go(func() {
				req, err := http.NewRequestWithContext(ctx, "GET", url+"/large", nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := c.Do(req)
				if err != nil {
					return
				}
				defer resp.Body.Close()
				answered <- true
				<-ctx.Done() // reads nothing
			})
		}
	}
	for range places / 2 {
		<-answered
	}
	for range 5 {
		resp, err := client("127.0.0.1").Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hello" {
			t.Errorf("another network: %d %q, %v", resp.StatusCode, text, err)
		}
		resp.Body.Close()
	}
	stop()
	attacks.Wait()
	if most.Load() > places/2 {
		t.Errorf("one network had %d requests under way", most.Load())
	}
}

// Connections, the files of their requests, and what the server needs itself fit
// into what it may open.
func TestConnectionsFor(t *testing.T) {
	for _, files := range []uint64{64, 256, 1024, 4096, 1 << 20} {
		for _, secure := range []bool{false, true} {
			connections, streams := connectionsFor(files, secure)
			used := 3*connections + 2*streams + spareFiles + keptFiles(files)
			if connections < 10 || secure && streams < 10 || files >= 256 && uint64(used) > files {
				t.Errorf("%d files, TLS %v: %d connections and %d streams", files, secure, connections, streams)
			}
		}
	}
}

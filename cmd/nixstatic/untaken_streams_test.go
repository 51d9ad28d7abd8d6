package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A peer is an HTTP/2 client that does as it likes.
type peer struct {
	*http2.Framer
	next uint32 // stream
}

// serveStreams serves over TLS, and returns what connects to it with a window for each
// stream.
func serveStreams(t *testing.T, hs *http.Server, l *connectionLimit) func(window uint32) *peer {
	t.Helper()
	go hs.ServeTLS(l, "", "")
	t.Cleanup(func() { hs.Close() })
	return func(window uint32) *peer {
		t.Helper()
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		p := &peer{http2.NewFramer(conn, conn), 1}
		io.WriteString(conn, http2.ClientPreface)
		if err := p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// get begins a request.
func (p *peer) get(t *testing.T, path string, more ...string) {
	t.Helper()
	var b bytes.Buffer
	h := hpack.NewEncoder(&b)
	fields := append([]string{":method", "GET", ":scheme", "https", ":authority", "x", ":path", path}, more...)
	for i := 0; i < len(fields); i += 2 {
		h.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	if err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: p.next, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	p.next += 2
}

// ended returns the next stream that the server ends.
func (p *peer) ended(t *testing.T) uint32 {
	t.Helper()
	for {
		frame, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if _, reset := frame.(*http2.RSTStreamFrame); reset || frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().StreamID > 0 {
			return frame.Header().StreamID
		}
	}
}

func testTLS(t *testing.T) *server {
	t.Helper()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	return &server{log: slog.New(slog.DiscardHandler), tls: &tls.Config{Certificates: cert.TLS.Certificates}}
}

func listenSecure(t *testing.T) *connectionLimit {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 100)
	l.secure = true
	return l
}

// The requests of a connection that takes nothing end, although no deadline of theirs can
// end them: what tells of that cannot be sent either.
func TestUntakenStreams(t *testing.T) {
	var under atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		under.Add(1)
		defer under.Add(-1)
		w.(interface{ SetWriteDeadline(time.Time) error }).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 64<<10))
		}
	})
	hs := testTLS(t).newHTTPServer(&streamLimit{Handler: handler, places: share.NewPool(100, streamWait)})
	if taken := hs.HTTP2.WriteByteTimeout; taken <= 0 || taken > 2*time.Minute {
		t.Fatalf("a client may take nothing for %s", taken)
	}
	hs.HTTP2.WriteByteTimeout = 200 * time.Millisecond
	p := serveStreams(t, hs, listenSecure(t))(1 << 30)
	if err := p.WriteWindowUpdate(0, 1<<30); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		p.get(t, "/")
	}
	for under.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	for under.Load() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// A request that the handler or net/http refuses ends although its client opens no window
// for the answer.
func TestRefusedStreams(t *testing.T) {
	begun, release := make(chan bool, 1), make(chan struct{})
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- true
		<-release
	})
	defer func() { close(release) }()
	places := share.NewPool(2, time.Hour).WithQueue(0)
	hs := testTLS(t).newHTTPServer(&streamLimit{Handler: handler, places: places, heads: share.NewPool(1<<10, 0)})
	if own := hs.WriteTimeout; own <= 0 || own > time.Minute {
		t.Fatalf("a client has %s for what the HTTP server answers", own)
	}
	hs.WriteTimeout = 3 * time.Second // that of the handshake too
	p := serveStreams(t, hs, listenSecure(t))(0)
	p.get(t, "/")
	<-begun
	refused := map[uint32]string{}
	for name, more := range map[string][]string{
		"no place":                  nil,
		"a large head":              {"x", strings.Repeat("x", 10<<10)},
		"headers that are wrong":    {"connection", "close"},
		"headers that are too many": {"x", strings.Repeat("x", 15<<10), "y", strings.Repeat("y", 15<<10), "z", strings.Repeat("z", 6<<10)},
	} {
		refused[p.next] = name
		p.get(t, "/", more...)
	}
	for len(refused) > 0 {
		stream := p.ended(t)
		if refused[stream] == "" {
			t.Fatalf("stream %d ended, %v did not", stream, refused)
		}
		delete(refused, stream)
	}
	// The request that is under way for longer has the time that its handler gives it.
	release <- struct{}{}
	if got := p.ended(t); got != 1 {
		t.Errorf("stream %d ended, want that which was under way", got)
	}
}

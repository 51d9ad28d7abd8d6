//go:build real

package siege_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// startTLS runs a server that speaks HTTP/2.
func startTLS(t *testing.T, args ...string) *server {
	t.Helper()
	own := httptest.NewUnstartedServer(nil) // for its certificate, which names 127.0.0.1
	own.StartTLS()
	defer own.Close()
	dir, pair := t.TempDir(), own.TLS.Certificates[0]
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, filepath.Join(dir, "cache"), append(args, "--tls-cert", cert, "--tls-key", key)...)
	s.ca = cert
	return s
}

// A wire is an HTTP/2 connection of an attacker.
type wire struct {
	*http2.Framer
	a    *attacker
	next uint32 // stream
}

// wire opens one. The frames that come are read and forgotten, and the windows of
// the server are never opened.
func (a *attacker) wire(ctx context.Context, settings ...http2.Setting) (*wire, func()) {
	conn, end := a.secure(ctx)
	if conn == nil {
		return nil, nil
	}
	w := &wire{http2.NewFramer(conn, conn), a, 1}
	io.WriteString(conn, http2.ClientPreface)
	if err := w.WriteSettings(settings...); err != nil {
		end()
		return nil, nil
	}
	go func() {
		for {
			if _, err := w.ReadFrame(); err != nil {
				return
			}
			a.through.add(0)
		}
	}()
	return w, end
}

// secure opens a connection for HTTP/2.
func (a *attacker) secure(ctx context.Context) (*tls.Conn, func()) {
	raw, err := a.dial(ctx)
	if err != nil {
		return nil, nil
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	end := func() {
		stop()
		raw.Close()
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		end()
		return nil, nil
	}
	return conn, end
}

// request begins one.
func (w *wire) request(method, path string, end bool, more ...string) (stream uint32, err error) {
	var b bytes.Buffer
	h := hpack.NewEncoder(&b)
	fields := append([]string{":method", method, ":scheme", "https", ":authority", "x", ":path", path, "authorization", "Bearer " + w.a.token}, more...)
	for i := 0; i < len(fields); i += 2 {
		h.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	stream, w.next = w.next, w.next+2
	return stream, w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

// overHTTP2 are attacks that HTTP/1 does not know.
var overHTTP2 = map[string]attack{
	"resets": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx)
		if w == nil {
			return
		}
		defer end()
		for range 200 {
			stream, err := w.request("PROPFIND", "/nar/", true, "depth", "1")
			if err == nil {
				err = w.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
			if err != nil {
				return
			}
		}
	}},
	"answers with a window of nothing": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if w == nil {
			return
		}
		defer end()
		for range 100 {
			if _, err := w.request("GET", a.target, true); err != nil {
				return
			}
		}
		wait(ctx, 10*time.Second)
	}},
	"answers that the connection does not take": {do: func(ctx context.Context, a *attacker) {
		conn, end := a.secure(ctx)
		if conn == nil {
			return
		}
		defer end()
		w := &wire{http2.NewFramer(conn, conn), a, 1} // nothing that comes is read
		io.WriteString(conn, http2.ClientPreface)
		w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		w.WriteWindowUpdate(0, 1<<30)
		for range 30 {
			if _, err := w.request("GET", a.target, true); err != nil {
				return
			}
		}
		a.through.add(0)
		wait(ctx, 10*time.Second)
	}},
	"headers that are wrong, without a window for the answer": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if w == nil {
			return
		}
		defer end()
		for range 100 {
			if _, err := w.request("GET", "/", true, "connection", "close"); err != nil {
				return
			}
		}
		wait(ctx, 10*time.Second)
	}},
	"many headers": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if w == nil {
			return
		}
		defer end()
		var more []string
		for i := range 500 {
			more = append(more, fmt.Sprint("x", i), "")
		}
		for range 30 {
			if _, err := w.request("GET", a.target, true, more...); err != nil {
				return
			}
		}
		wait(ctx, 10*time.Second)
	}},
	"uploads that trickle in": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx)
		if w == nil {
			return
		}
		defer end()
		var streams []uint32
		for range 60 {
			stream, err := w.request("PUT", nar(), false)
			if err != nil {
				return
			}
			streams = append(streams, stream)
		}
		for i := 0; ctx.Err() == nil; i++ {
			if err := w.WriteData(streams[i%len(streams)], false, []byte(skip)); err != nil {
				return
			}
			wait(ctx, 50*time.Millisecond)
		}
	}},
	"pings and settings": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx)
		if w == nil {
			return
		}
		defer end()
		for range 500 {
			if w.WritePing(false, [8]byte{}) != nil || w.WriteSettings() != nil {
				return
			}
		}
	}},
	"headers without an end": {do: func(ctx context.Context, a *attacker) {
		w, end := a.wire(ctx)
		if w == nil {
			return
		}
		defer end()
		var b bytes.Buffer
		hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: "x", Value: madeUp(nix32, 1000)})
		if w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes()}) != nil {
			return
		}
		for range 100 {
			if w.WriteContinuation(1, false, b.Bytes()) != nil {
				return
			}
		}
	}},
	"connections": {copies: 100, do: func(ctx context.Context, a *attacker) {
		if w, end := a.wire(ctx); w != nil {
			defer end()
			wait(ctx, 10*time.Second)
		}
	}},
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Over TLS it is the same: the streams of one client take neither files nor places
// from others.
func TestSiegeOverHTTP2(t *testing.T) {
	s := startTLS(t, "--min-free", "100MiB")
	peace := startTLS(t, "--min-free", "100MiB")
	store, target := s.large(t)
	end := s.besiege(t, target, overHTTP2)
	time.Sleep(2 * time.Second)
	ctx, stop := context.WithTimeout(t.Context(), lasts(t, 3*time.Second))
	defer stop()
	reading, finish := context.WithCancel(t.Context())
	client := reader()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	read := make(chan int)
	go func() { read <- s.readers(t, reading, client, store) }()
	took := s.pairs(t, ctx, peace, fewest)
	finish()
	t.Logf("%d reads of 32 MiB", <-read)
	end()
	checkPace(t, took)
	s.ends(t)
	peace.ends(t)
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/webdav/token"
)

// A server serves HTTP on some listeners until it is told to stop. Everything
// in this program that listens does so by it.
type server struct {
	handler  http.Handler
	tls      *tls.Config   // for TCP; nil for none
	patience time.Duration // for requests under way when it stops; 0 for 10 seconds
	log      *slog.Logger
	most     int // connections at the same time; 0 for what the files leave that it may open
}

// headTime is how long a client has for the head of a request.
const headTime = 10 * time.Second

// newHTTPServer sets the limits on what a client may cost before it has asked for
// anything. The handler limits what it may cost afterwards.
func (s *server) newHTTPServer(handler http.Handler) *http.Server {
	hs := &http.Server{
		Handler:           countHeads(handler),
		ReadHeaderTimeout: headTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		TLSConfig:         s.tls,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: http2Buffer, MaxReceiveBufferPerStream: http2Buffer,
			MaxConcurrentStreams: streamsOfOne, WriteByteTimeout: takeTime},
		ConnState:   noticeConnection,
		ConnContext: watchConnection,
		ErrorLog:    log.New(serverLog{s.log}, "", 0),
	}
	if s.tls != nil {
		hs.WriteTimeout = ownTime // until streamLimit has the request
	}
	return hs
}

// A serverLog gives what net/http has to say of itself the level that it has.
type serverLog struct{ log *slog.Logger }

// Write logs one message.
func (l serverLog) Write(text []byte) (int, error) {
	level, msg := slog.LevelWarn, strings.TrimSpace(string(text))
	switch {
	case strings.HasPrefix(msg, "http: Accept error"), strings.Contains(msg, "panic serving"), strings.Contains(msg, "superfluous"):
		level = slog.LevelError
	// Clients that do not speak TLS or HTTP, such as scanners, are not worth an
	// error.
	case strings.HasPrefix(msg, "http: TLS handshake error"), strings.HasPrefix(msg, "http2:"), strings.HasPrefix(msg, "http: URL query"):
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "HTTP server", "message", msg)
	return len(text), nil
}

// serve serves until ctx ends, then lets the requests under way finish. When it
// returns none is running any more. An error says that a listener failed, or
// that requests had to be cut off.
func (s *server) serve(ctx context.Context, listeners ...net.Listener) error {
	connections, streams := connectionsFor(openFiles(), s.tls != nil)
	if s.most > 0 {
		connections = min(connections, s.most)
	}
	connections = max(1, connections/max(1, len(listeners)))
	var running sync.WaitGroup
	handler, heads := s.handler, newHeads()
	if s.tls != nil {
		handler = &streamLimit{Handler: handler, places: share.NewPool(int64(streams), streamWait), heads: heads}
	}
	hs := s.newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		handler.ServeHTTP(w, r)
	}))
	failed, failedNow := context.WithCancelCause(ctx)
	defer failedNow(nil)
	var group errgroup.Group
	for _, l := range listeners {
		group.Go(func() error {
			serve, limited := hs.Serve, limitConnections(l, connections)
			limited.heads = heads
			if _, isTCP := l.Addr().(*net.TCPAddr); isTCP && s.tls != nil {
				limited.secure = true
				serve = func(l net.Listener) error { return hs.ServeTLS(l, "", "") }
			}
			err := serve(limited)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			failedNow(err)
			return err
		})
	}
	<-failed.Done()
	patience := s.patience
	if patience <= 0 {
		patience = 10 * time.Second
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	cutOff := hs.Shutdown(end)
	if cutOff != nil {
		cutOff = errors.Join(withHint(fmt.Errorf("requests were still under way %s after the signal to stop, and were cut off", patience),
			"what they uploaded whole is in the cache; clients may send the rest again"), hs.Close())
	}
	err := group.Wait()
	running.Wait()
	return errors.Join(err, cutOff)
}

// realClient tells the handler who asks, where a trusted proxy names it.
func realClient(auth *token.Auth, next http.Handler) http.Handler {
	if len(auth.TrustedProxies) == 0 && !auth.TrustLocal {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if addr := auth.ClientAddr(r); addr.IsValid() {
			r.RemoteAddr = netip.AddrPortFrom(addr, 0).String()
		}
		next.ServeHTTP(w, r)
	})
}

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

// An upload that waits unread ends when its client goes, and not when its turn
// comes or its patience ends.
func TestGoneWhileWaiting(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/socket"
			}
			inner, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			pool := share.NewPool(1, time.Hour)
			all, err := pool.Take(share.As(t.Context(), "a"), 1)
			if err != nil {
				t.Fatal(err)
			}
			defer all.Release()
			waiting, waited := make(chan bool), make(chan error)
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				waiting <- true
				ctx, done := share.UntilGone(r.Context())
				defer done()
				_, err := pool.Take(share.As(ctx, "b"), 1)
				waited <- err
			})
			hs := (&server{log: slog.New(slog.DiscardHandler)}).newHTTPServer(handler)
			go hs.Serve(limitConnections(inner, 100))
			defer hs.Close()
			conn, err := net.Dial(network, inner.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// Some of the body is there, and is not read.
			io.WriteString(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbody")
			<-waiting
			conn.Close()
			if err := <-waited; !errors.Is(err, context.Canceled) {
				t.Errorf("waited and got %v", err)
			}
		})
	}
}

package s3

import (
	"io"
	"net/http"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	openConnections = 64 // batches and parts in flight, kept for the next
	// A page of a listing has 1000 keys of at most 1024 bytes, three times as
	// long when escaped.
	maxAnswer = 16 * mib
)

// ErrHTTPS says that a store was asked in plain HTTP and speaks HTTPS.
var ErrHTTPS = netx.ErrHTTPS

// A guard cuts off answers that are too long to be what was asked for. Objects
// are as long as they are.
type guard struct{ http.RoundTripper }

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if req.Method != http.MethodGet || req.URL.RawQuery != "" || resp.StatusCode >= 300 {
		resp.Body = &limited{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	// The client library fails over a date that is none, such as the 0 by which
	// servers say that an answer is old already.
	if _, err := http.ParseTime(resp.Header.Get("Expires")); err != nil {
		resp.Header.Del("Expires")
	}
	return resp, nil
}

type limited struct {
	io.Reader
	io.Closer
}

package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

const (
	connectTimeout  = 15 * time.Second
	openConnections = 64 // batches and parts in flight, kept for the next
	// A page of a listing has 1000 keys of at most 1024 bytes, three times as
	// long when escaped.
	maxAnswer = 16 * mib
)

func newTransport(stall time.Duration) (*http.Transport, error) {
	roots, err := certificates()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &impatient{conn, stall}, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:    connectTimeout,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConns:           2 * openConnections,
		MaxIdleConnsPerHost:    openConnections,
		MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
		// The store would be asked for gzip behind our back, and its length lost.
		DisableCompression: true,
		// No HTTP/2: stores speak HTTP/1.1, and parts are to have connections of
		// their own.
		Protocols: onlyHTTP1(),
	}, nil
}

func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// certificates are the authorities to trust: those that AWS tools or Nix were
// told of, else nil for the system's.
func certificates() (*x509.CertPool, error) {
	file := os.Getenv("AWS_CA_BUNDLE")
	if file == "" {
		file = os.Getenv("NIX_SSL_CERT_FILE")
	}
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificates: %s holds none in PEM", file)
	}
	return pool, nil
}

// impatient is a connection that breaks when it stands still: neither a whole
// upload nor a whole download has a limit of time that would fit.
type impatient struct {
	net.Conn
	stall time.Duration
}

func (c *impatient) Read(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(c.stall))
	return c.Conn.Read(p)
}

// Write keeps the reader of the answer waiting as well: that one begins when the
// request does.
func (c *impatient) Write(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(c.stall))
	return c.Conn.Write(p)
}

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
	return resp, nil
}

type limited struct {
	io.Reader
	io.Closer
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

package netx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	connectTimeout = 15 * time.Second
	maxHeaderBytes = 256 << 10
)

// ErrHTTPS says that a server was asked in plain HTTP and speaks HTTPS.
var ErrHTTPS = errors.New("the server speaks HTTPS, and was asked in plain HTTP")

// A Config says how a Transport reaches servers.
type Config struct {
	// Stall is how long a connection may stand still. Over HTTP/2, where requests
	// share one, it is how long a server may take to begin its answer.
	Stall       time.Duration
	Connections int  // that are kept for the next request to the same server
	HTTP1       bool // each request has a connection for itself
	// CAFile holds the authorities to trust, in PEM. "" are the system's.
	CAFile string
}

// A Transport makes requests, each once. If the authorities to trust cannot be
// read, requests over TLS fail, and no others.
type Transport struct {
	*http.Transport
	roots func() (*x509.CertPool, error) // the authorities to trust, read once

	mu      sync.Mutex
	trusted bool // the Transport below has them
}

// A RootsError says that the authorities to trust cannot be read.
type RootsError struct{ err error }

func (e *RootsError) Error() string { return "read certificates: " + e.err.Error() }
func (e *RootsError) Unwrap() error { return e.err }

// NewTransport makes a Transport. No file is read for it but the authorities, and these
// before the first request that may need them: there are hundreds.
func NewTransport(c Config) *Transport {
	dialer := &net.Dialer{
		Timeout: connectTimeout,
		// A server that vanished is noticed after a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{},
		TLSHandshakeTimeout:    connectTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           2 * c.Connections,
		MaxIdleConnsPerHost:    c.Connections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         64 << 10,
		WriteBufferSize:        64 << 10,
		// The transport would ask for gzip behind our back, and drop the length.
		DisableCompression: true,
	}
	if c.HTTP1 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &impatient{conn, c.Stall}, nil
		}
	} else {
		t.ForceAttemptHTTP2 = true
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
		t.ResponseHeaderTimeout = c.Stall
	}
	return &Transport{Transport: t, roots: sync.OnceValues(func() (*x509.CertPool, error) { return certificates(c.CAFile) })}
}

// Roots returns why the authorities to trust cannot be read, nil if they can.
func (t *Transport) Roots() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	pool, err := t.roots()
	if err != nil {
		return &RootsError{err}
	}
	if !t.trusted {
		t.TLSClientConfig.RootCAs, t.trusted = pool, true
	}
	return nil
}

// Clone returns a Transport with connections of its own, whose copy of the one
// below edit may change.
func (t *Transport) Clone(edit func(*http.Transport)) *Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	below := t.Transport.Clone()
	edit(below)
	return &Transport{Transport: below, roots: t.roots, trusted: t.trusted}
}

// RoundTrip makes a request.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.overTLS(req) {
		if err := t.Roots(); err != nil && req.URL.Scheme == "https" {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
	}
	resp, err := t.Transport.RoundTrip(req)
	if err == nil {
		return resp, nil
	}
	// Client does the same, but for errors that are not wrapped.
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
		err = http.ErrSchemeMismatch
	}
	if req.URL.Scheme == "http" && strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`) {
		// Those bytes are an alert of TLS. net/http has no type for what is not
		// HTTP.
		err = ErrHTTPS
	}
	return nil, &NoAnswer{err}
}

// overTLS reports whether a request may need the authorities: to trust the server, or a
// proxy on the way.
func (t *Transport) overTLS(req *http.Request) bool {
	if req.URL.Scheme == "https" || t.Proxy == nil {
		return req.URL.Scheme == "https"
	}
	proxy, err := t.Proxy(req)
	return proxy != nil || err != nil
}

// A NoAnswer error says that a request got no answer.
type NoAnswer struct{ err error }

func (e *NoAnswer) Error() string {
	if errors.Is(e.err, io.EOF) || errors.Is(e.err, io.ErrUnexpectedEOF) {
		return "the connection was closed"
	}
	return e.err.Error()
}

func (e *NoAnswer) Unwrap() error { return e.err }

// MayPass reports whether a request that got no answer, or one that broke off, may
// succeed when it is made again.
func MayPass(err error) bool {
	var (
		unusable *Unusable
		broken   *Broken
		silent   *NoAnswer
		dns      *net.DNSError
	)
	switch {
	case errors.As(err, &unusable), errors.As(err, &broken):
		return true
	case !errors.As(err, &silent), IsTLS(err):
		return false
	}
	return !errors.As(err, &dns) || !dns.IsNotFound
}

// WithoutURL drops the URL that net/url and net/http put into their errors.
func WithoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// SaysHTTPS reports whether the text of an answer to a request in plain HTTP says
// that the server speaks HTTPS. The status is 400 then, and no header tells.
func SaysHTTPS(text string) bool {
	for _, words := range []string{ // of Go, nginx, Apache
		"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server port",
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// certificates reads the authorities to trust, nil for the system's.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds none in PEM", file)
	}
	return pool, nil
}

// IsTLS reports whether a request failed over certificates or over TLS itself,
// which would be the same in a minute.
func IsTLS(err error) bool {
	var (
		roots     *RootsError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	return errors.As(err, &roots) || errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &record) ||
		errors.As(err, &alert) || errors.Is(err, http.ErrSchemeMismatch) || errors.Is(err, ErrHTTPS)
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

// Version is that of the program, for servers to know.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

package httpcache

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

const (
	connectTimeout = 15 * time.Second
	maxRedirects   = 10
	// openConnections are kept for the next request, as many as Nix opens.
	OpenConnections = 25
	maxHeaderBytes  = 256 << 10
)

func transport(roots *x509.CertPool, stall time.Duration) *http.Transport {
	dialer := &net.Dialer{
		Timeout: connectTimeout,
		// A server that vanished is noticed after a minute, long before Stall.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  stall,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    OpenConnections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         32 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		// The transport would ask for gzip behind our back, and drop the length.
		DisableCompression: true,
	}
}

// redirect decides on following the server to another place.
func (h *Reader) redirect(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return refusal(fmt.Sprintf("more than %d redirects", maxRedirects))
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return refusal("redirected to a URL that is not http or https")
	case last.Scheme == "https" && req.URL.Scheme == "http":
		return refusal("redirected from https to http://" + req.URL.Host)
	}
	// net/http keeps Authorization for another port, for subdomains and for
	// plain http, and tells the next host where we come from.
	req.URL.User = nil
	req.Header.Del("Referer")
	h.authorize(req)
	return nil
}

func (h *Reader) authorize(req *http.Request) {
	req.Header.Del("Authorization")
	if h.auth != "" && sameOrigin(req.URL, h.base) {
		req.Header.Set("Authorization", h.auth)
	}
}

func certificates(file string) (*x509.CertPool, error) {
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

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

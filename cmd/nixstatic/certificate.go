package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A certificate is a pair of files that is read again when it changes, as it
// does every few weeks where it is renewed. A pair that does not fit, which is
// what one sees between the writing of the two, leaves the one before in force.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu       sync.Mutex
	pair     *tls.Certificate
	versions [2]string // of the files of the last try
	looked   time.Time
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	c.versions = c.stat()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c.pair = &pair
	return c, nil
}

// config returns what a listener needs, for HTTP/2 and HTTP/1.1.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: c.get}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < time.Second {
		return c.pair, nil
	}
	c.looked = time.Now()
	versions := c.stat()
	if versions == c.versions {
		return c.pair, nil
	}
	c.versions = versions
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Error("the certificate stays as it was", "file", c.certFile, "err", err)
		return c.pair, nil
	}
	c.log.Info("certificate read", "file", c.certFile, "until", pair.Leaf.NotAfter)
	c.pair = &pair
	return c.pair, nil
}

// stat returns the versions of the files. Their times of modification alone tell
// nothing: files in a Nix store all have the same.
func (c *certificate) stat() (versions [2]string) {
	for i, file := range []string{c.certFile, c.keyFile} {
		if st, err := os.Stat(file); err == nil {
			versions[i] = layout.FileVersion(st)
		}
	}
	return versions
}

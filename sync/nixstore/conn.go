package nixstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Operations of the worker protocol.
const (
	opAddTempRoot              = 11
	opAddIndirectRoot          = 12
	opQueryAllValidPaths       = 23
	opQueryPathInfo            = 26
	opQueryValidPaths          = 31
	opQueryDerivationOutputMap = 41
	opQueryRealisation         = 43
)

const (
	clientMagic = 0x6e697863
	daemonMagic = 0x6478696f

	major       = 1
	minMinor    = 21 // Nix 2.3
	clientMinor = 38

	// featurePathKeys: realisations are asked for by the path of the derivation.
	// A daemon of protocol 1.38 without it has them by hash.
	featurePathKeys = "realisation-with-path-not-hash"
)

// A transport is a connection to a daemon, of whatever kind.
type transport interface {
	io.ReadWriteCloser // Close unblocks Read and Write, and returns at once
	// wait returns after Close, when nothing of the connection is left.
	wait()
	// lastWords returns what the daemon said outside the protocol, "" for nothing.
	lastWords() string
}

// A conn is a connection after the handshake. It is for a single goroutine at a
// time, or for one that writes requests and one that reads replies.
type conn struct {
	transport
	out      writer
	in       reader
	minor    uint64 // of the protocol spoken
	pathKeys bool   // featurePathKeys
	nix      string // version of the daemon's Nix, "" before protocol 1.33
	trust    Trust  // what it thinks of us, unknown before protocol 1.35
}

// handshake agrees on a version of the protocol. It closes t on error.
func handshake(ctx context.Context, t transport) (*conn, error) {
	// Closing is the one way to wake up a read, whatever the transport.
	stop := context.AfterFunc(ctx, func() { t.Close() })
	c := &conn{
		transport: t,
		out:       writer{bufio.NewWriterSize(t, 32<<10)},
		in:        reader{from: bufio.NewReaderSize(t, 64<<10)},
	}
	err := c.greet()
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("greet the Nix daemon: %w", c.explain(err))
	}
	return c, nil
}

func (c *conn) greet() error {
	c.out.num(clientMagic)
	c.out.num(major<<8 | clientMinor)
	if err := c.out.to.Flush(); err != nil {
		return err
	}
	magic, version := c.in.num(), c.in.num()
	switch {
	case c.in.err != nil:
		return c.in.err
	case magic != daemonMagic:
		return errors.New("what answers does not speak the worker protocol")
	case version>>8 != major || version&0xff < minMinor:
		return fmt.Errorf("it speaks protocol %d.%d, which is not supported: want 1.%d or later", version>>8, version&0xff, minMinor)
	}
	c.minor = min(version&0xff, clientMinor)
	if c.minor >= 38 {
		c.out.texts(featurePathKeys)
		if err := c.out.to.Flush(); err != nil {
			return err
		}
		c.pathKeys = slices.Contains(c.in.texts(maxTrace, "features"), featurePathKeys)
	}
	c.out.num(0) // no CPU affinity
	c.out.num(0) // no reserved space
	if err := c.out.to.Flush(); err != nil {
		return err
	}
	if c.minor >= 33 {
		c.nix = c.in.text(maxText)
	}
	if c.minor >= 35 {
		switch c.in.num() {
		case 1:
			c.trust = Trusted
		case 2:
			c.trust = NotTrusted
		}
	}
	return c.settle()
}

// settle reads up to an answer. Its error is the refusal or the connection's end.
func (c *conn) settle() error {
	if refusal := c.in.settle(c.minor); refusal != nil {
		return refusal
	}
	return c.in.err
}

// ask sends a request and reads up to its answer.
func (c *conn) ask(op uint64, args ...string) error {
	c.request(op, args...)
	if err := c.out.to.Flush(); err != nil {
		c.in.fail(err)
		return err
	}
	return c.settle()
}

func (c *conn) request(op uint64, args ...string) {
	c.out.num(op)
	for _, arg := range args {
		c.out.text(arg)
	}
}

// explain adds to the error of a connection that ended what the daemon said.
func (c *conn) explain(err error) error {
	words := c.lastWords()
	if words == "" {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("the daemon hung up: %w", err)
		}
		return err
	}
	return fmt.Errorf("%w; the daemon says: %s", err, words)
}

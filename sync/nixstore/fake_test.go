package nixstore

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// A fakeDaemon is the other end of a connection, for what no real daemon does, and
// for the versions that are not at hand.
type fakeDaemon struct {
	net.Conn
	out writer
	in  reader
}

// listen serves each connection to a new socket with serve, and returns the store's
// name.
func listen(t testing.TB, serve func(*fakeDaemon)) string {
	t.Helper()
	withoutNixEnv(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(&fakeDaemon{c, writer{bufio.NewWriter(c)}, reader{from: bufio.NewReader(c)}})
			}()
		}
	}()
	return "unix://" + socket
}

// greet does the daemon's half of the handshake of protocol 1.minor.
func (d *fakeDaemon) greet(minor uint64, features ...string) {
	d.out.num(daemonMagic)
	d.out.num(major<<8 | minor)
	d.out.to.Flush()
	d.in.num()
	d.in.num()
	if minor >= 38 {
		d.in.texts(maxTrace, "features")
		d.out.texts(features...)
	}
	d.out.to.Flush()
	d.in.num()
	d.in.num()
	if minor >= 33 {
		d.out.text("2.fake")
	}
	if minor >= 35 {
		d.out.num(1)
	}
	d.out.num(stderrLast)
	d.out.to.Flush()
}

// serve answers requests until the client is gone: roots are granted, and anything
// else is for answer. Reply by reply is sent off.
func (d *fakeDaemon) serve(answer func(op uint64, path string)) {
	for {
		op := d.in.num()
		path := ""
		if op != opQueryAllValidPaths {
			path = d.in.text(maxText)
		}
		if d.in.err != nil {
			return
		}
		if op == opAddTempRoot {
			d.out.num(stderrLast)
			d.out.num(1)
		} else {
			answer(op, path)
		}
		d.out.to.Flush()
	}
}

var fakePath = layout.StorePath("00000000000000000000000000000000-fake")

// A fakeInfo is a reply to opQueryPathInfo, good as it is.
type fakeInfo struct {
	deriver, hash string
	refs          []string
	size          uint64
	sigs          []string
	ca            string
}

var goodInfo = fakeInfo{hash: strings.Repeat("ab", 32), size: 120, refs: []string{fakePath.Abs(layout.DefaultStoreDir)}}

func (d *fakeDaemon) info(i fakeInfo) {
	d.out.num(stderrLast)
	d.out.num(1)
	d.out.text(i.deriver)
	d.out.text(i.hash)
	d.out.texts(i.refs...)
	d.out.num(1)
	d.out.num(i.size)
	d.out.num(0)
	d.out.texts(i.sigs...)
	d.out.text(i.ca)
}

// refuse sends an error in the form of protocol 1.26 and later.
func (d *fakeDaemon) refuse(msg string, trace ...string) {
	d.out.num(stderrError)
	d.out.text("Error")
	d.out.num(0)
	d.out.text("Error")
	d.out.text(msg)
	d.out.num(0)
	d.out.num(uint64(len(trace)))
	for _, line := range trace {
		d.out.num(0)
		d.out.text(line)
	}
}

package webdav

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A body that ends early or stops coming is refused, and the server does not wait for
// ever.
func TestBrokenBodies(t *testing.T) {
	key, text := "log/"+strings.Repeat("0", 32)+"-x.drv", bytes.Repeat([]byte("x"), 10_000)
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.BodyStall = 200 * time.Millisecond })
	head := fmt.Sprintf("PUT /upload/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", key, len(text))
	if status, body := raw(t, r, head+string(text[:len(text)/2])); status != 408 {
		t.Errorf("a body that stops coming: %d %q", status, body)
	}
	// A byte now and then does not count as coming.
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, head)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-ended:
		case <-tick.C:
			conn.Write(text[:1])
			continue
		}
		tick.Stop()
		break
	}
	// A client that goes away in the middle.
	conn, err = net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, head+string(text[:len(text)/2]))
	conn.Close()
	// A request that announces a body to what takes none.
	if status, _ := raw(t, r, "GET /nix-cache-info HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx"); status != 200 {
		t.Errorf("GET with a body that does not come: %d", status)
	}
	if got := r.do(t, "PUT", "/upload/"+key, bytes.NewReader(text)); got.Status != 201 {
		t.Errorf("afterwards: %d %s", got.Status, got.Body)
	}
	if n := len(keysOf(t, r.dir)); n != 2 {
		t.Errorf("%d objects, want 2", n)
	}
}

// A client that sends without waiting reads the answer to what is refused in the
// middle, however much it has left to send.
func TestRefusedInTheMiddle(t *testing.T) {
	r := newRig(t, nil)
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /upload/%s.narinfo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("0", 32))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	sent := 0
	go func() {
		for ; sent < 200; sent++ {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 413 || !strings.Contains(string(text), "too large") || err != nil || !resp.Close {
		t.Errorf("%d %q %v, closes %v", resp.StatusCode, text, err, resp.Close)
	}
}

// Time in which we do not read does not count against the client.
func TestSlowStorage(t *testing.T) {
	mem := treetest.NewMem(t)
	h := newHandler(Config{Tree: mem, Auth: AllowAll, Log: quiet, BodyStall: 50 * time.Millisecond}, fakeInbox{Lister: mem, take: func(_ layout.Key, from io.Reader) (inbox.Outcome, error) {
		sum := int64(0)
		for range 4 {
			time.Sleep(100 * time.Millisecond)
			n, err := io.CopyN(io.Discard, from, 1<<20)
			if sum += n; err != nil {
				return 0, &inbox.BodyError{Err: fmt.Errorf("after %d bytes: %w", sum, err)}
			}
		}
		time.Sleep(100 * time.Millisecond)
		return inbox.Created, nil
	}})
	for _, version := range []int{1, 2} {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = version == 2
		s.StartTLS()
		t.Cleanup(s.Close)
		r := &rig{Server: s}
		if got := r.do(t, "PUT", "/upload/nix-cache-info", bytes.NewReader(make([]byte, 4<<20))); got.Status != 201 {
			t.Errorf("HTTP/%d: %d %s", version, got.Status, got.Body)
		}
	}
}

// A client that takes nothing of an answer loses its connection.
func TestStalledReader(t *testing.T) {
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.BodyStall = 100 * time.Millisecond })
	key := "log/" + strings.Repeat("0", 32) + "-x.drv"
	if err := r.tree.Put(t.Context(), layout.Key(key), layout.Bytes(make([]byte, 64<<20)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", key)
	for r.recorded.count() == 0 { // the handler is still at it
		time.Sleep(10 * time.Millisecond)
	}
	if n, err := io.Copy(io.Discard, conn); n >= 64<<20 {
		t.Errorf("all of it came: %d bytes, %v", n, err)
	}
}

//go:build real

package siege_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An attack is done again and again, by some attackers at once.
type attack struct {
	do       func(ctx context.Context, a *attacker)
	stranger bool // shows no token
	copies   int  // of each attacker; 0 for one
}

// An attacker comes from another address than the honest ones.
type attacker struct {
	*server
	from, token string
	target      string // of a large NAR that is there, the path of its URL
	client      *http.Client
	through     *notice
}

// A notice counts how often the server took notice of an attack, and what it said.
type notice struct {
	mu      sync.Mutex
	n       int
	answers map[int]int
}

func (n *notice) add(status int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.n++
	if n.answers == nil {
		n.answers = map[int]int{}
	}
	if status != 0 {
		n.answers[status]++
	}
}

const (
	attackersEach = 4
	pause         = 200 * time.Millisecond
	// crowdPause is that of attackers in great number.
	crowdPause = 5 * time.Second
)

func (n *notice) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n
}

// besiege begins attacks, and returns what ends them and wants that each has got
// through to the server.
func (s *server) besiege(t *testing.T, target string, attacks map[string]attack) (end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	through := map[string]*notice{}
	s.besieged = through
	for name, kind := range attacks {
		through[name] = &notice{}
		for i := range attackersEach {
			a := s.attacker([]string{"127.0.0.2", "127.0.0.3"}[i%2], []string{"mallory", "eve"}[i%2])
			wait := pause
			if kind.stranger {
				a.token = ""
			}
			if kind.copies > 0 {
				a.from = []string{"127.0.0.4", "127.0.0.5"}[i%2]
				wait = crowdPause
			}
			a.through, a.target = through[name], target
			for range max(1, kind.copies) {
				all.Go(func() {
					for ctx.Err() == nil {
						kind.do(ctx, a)
						select {
						case <-ctx.Done():
						case <-time.After(wait):
						}
					}
				})
			}
		}
	}
	return func() {
		t.Helper()
		stop()
		all.Wait()
		for name, n := range through {
			if t.Logf("%s: %d, answered %v", name, n.n, n.answers); n.n == 0 {
				t.Errorf("no attack got through: %s", name)
			}
		}
	}
}

func (s *server) attacker(from, who string) *attacker {
	a := &attacker{server: s, from: from, token: s.tokens[who]}
	a.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConns: 4, IdleConnTimeout: time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) }}}
	return a
}

func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.from)}, Timeout: 5 * time.Second, Control: reuse}
	return d.DialContext(ctx, "tcp", a.address)
}

// reuse lets thousands of connections come from one address, one after the other.
func reuse(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
}

// send sends a request, and reads some of the answer, whatever that is.
func (a *attacker) send(ctx context.Context, method, path string, body io.Reader, headers ...string) int {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, body)
	if err != nil {
		return 0
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		if dial := (*net.OpError)(nil); !errors.As(err, &dial) || dial.Op != "dial" {
			a.through.add(0) // and was hung up on, perhaps in the middle
		}
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusUnauthorized {
		a.through.add(resp.StatusCode)
	}
	return resp.StatusCode
}

// hold opens a connection, sends some bytes, and then a few more now and then.
func (a *attacker) hold(ctx context.Context, head string, each int, every time.Duration) {
	conn, err := a.dial(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if a.token != "" {
		head = strings.Replace(head, "\r\n", "\r\nAuthorization: Bearer "+a.token+"\r\n", 1)
	}
	// The connection may soon make room for another of the same network.
	if _, err := io.WriteString(conn, head); err == nil {
		a.through.add(0)
	}
	for ctx.Err() == nil {
		time.Sleep(every)
		if _, err := conn.Write(make([]byte, each)); err != nil {
			return
		}
		a.through.add(0)
		if each == 0 && hungUp(conn) {
			return
		}
	}
}

// hungUp reports whether the server has ended a connection that nothing is read
// from.
func hungUp(conn net.Conn) bool {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0)
		gone = err == nil && n > 0
	})
	return err != nil || gone
}

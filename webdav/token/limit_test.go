package token

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/webdav"
)

func TestFailuresAreLimited(t *testing.T) {
	f := newFixture(t)
	from := func(addr string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = addr }
	}
	n := 0
	wrong := func(r *http.Request) {
		n++
		basic("x", fmt.Sprintf("nst_%043d", n))(r)
	}
	for range failureBurst {
		if got := status(t, f.auth, webdav.Upload, wrong, from("192.0.2.1:1000")); got != 401 {
			t.Fatalf("a wrong token: %d", got)
		}
	}
	if got := status(t, f.auth, webdav.Upload, wrong, from("192.0.2.1:1001")); got != 429 {
		t.Errorf("one too many: %d", got)
	}
	nix := header("User-Agent", "curl/8.14.1 Nix/2.31.2")
	if got := status(t, f.auth, webdav.Upload, wrong, nix, from("192.0.2.1:1001")); got != 403 {
		t.Errorf("one too many, by Nix: %d", got)
	}
	if got := status(t, f.auth, webdav.Upload, wrong, from("192.0.2.2:1000")); got != 401 {
		t.Errorf("from another address: %d", got)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", f.upload), from("192.0.2.1:1000")); got != 200 {
		t.Errorf("a good token from the same address: %d", got)
	}
	if got := status(t, f.auth, webdav.Upload, from("192.0.2.1:1000")); got != 401 {
		t.Errorf("no token at all from the same address: %d", got)
	}
	f.clock = f.clock.Add(failureEvery)
	if got := status(t, f.auth, webdav.Upload, wrong, from("192.0.2.1:1000")); got != 401 {
		t.Errorf("after a while: %d", got)
	}
	if got := status(t, f.auth, webdav.Upload, wrong, from("192.0.2.1:1000")); got != 429 {
		t.Errorf("and once more: %d", got)
	}
	if n := strings.Count(f.log.String(), "wrong token"); n != failureBurst+2 {
		t.Errorf("%d lines in the log: those that are refused unseen fill it", n)
	}
}

// The holder of a token that is good for something else fills no log with it.
func TestRefusalsInTheLog(t *testing.T) {
	f := newFixture(t)
	for range 3 * failureBurst {
		if got := status(t, f.auth, webdav.Admin, basic("x", f.upload)); got != 403 {
			t.Fatalf("a token without the scope: %d", got)
		}
	}
	if n := strings.Count(f.log.String(), "token refused"); n < failureBurst || n > 2*failureBurst {
		t.Errorf("%d lines in the log", n)
	}
}

func TestFailureLimitIsBounded(t *testing.T) {
	var l failureLimit
	now := time.Now()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxFailing {
		addr = addr.Next()
		if wait, _ := l.take(addr, "x", now); wait > 0 {
			t.Fatal("a first failure is limited")
		}
	}
	if len(l.failing) > maxFailing {
		t.Errorf("%d addresses are remembered", len(l.failing))
	}
	// All addresses of one household count as one.
	six := netip.MustParseAddr("2001:db8:1:2::")
	for range failureBurst {
		six = six.Next()
		l.take(six, six.String(), now)
	}
	if wait, _ := l.take(netip.MustParseAddr("2001:db8:1:2:ffff::1"), "x", now); wait == 0 {
		t.Error("another address of the same /64 has its own limit")
	}
	if wait, _ := l.take(netip.MustParseAddr("2001:db8:1:3::1"), "x", now); wait != 0 {
		t.Error("the next /64 has no limit of its own")
	}
}

// A Nix with a mistyped token shows it a hundred times at once, and is told each time
// what is wrong; the log tells of it once. A client which guesses has no use of it.
func TestTheSameWrongToken(t *testing.T) {
	f := newFixture(t)
	typo := basic("x", "nst_"+strings.Repeat("A", 43))
	for range 5 * failureBurst {
		if got := status(t, f.auth, webdav.Upload, typo); got != 401 {
			t.Fatalf("the same wrong token: %d", got)
		}
	}
	if n := strings.Count(f.log.String(), "wrong token"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	for i := range failureBurst - 1 {
		if got := status(t, f.auth, webdav.Upload, basic("x", fmt.Sprintf("nst_%043d", i))); got != 401 {
			t.Fatalf("guess %d: %d", i, got)
		}
	}
	for i := range 2 * maxSeen {
		if got := status(t, f.auth, webdav.Upload, basic("x", fmt.Sprintf("nst_%043d", 1000+i))); got != 429 {
			t.Errorf("one guess too many: %d", got)
		}
	}
	// Tokens in turn, more than are remembered, are guesses.
	f.clock = f.clock.Add(failureBurst * failureEvery)
	limited := false
	for i := range 2 * failureBurst {
		limited = limited || status(t, f.auth, webdav.Upload, basic("x", fmt.Sprintf("nst_%043d", i%(maxSeen+1)))) == 429
	}
	if !limited {
		t.Error("guesses in turn are not limited")
	}
}

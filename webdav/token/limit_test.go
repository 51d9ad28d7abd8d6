package token

import (
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
	wrong := basic("x", "nst_"+strings.Repeat("A", 43))
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

func TestFailureLimitIsBounded(t *testing.T) {
	var l failureLimit
	now := time.Now()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxFailing {
		addr = addr.Next()
		if l.take(addr, now) > 0 {
			t.Fatal("a first failure is limited")
		}
	}
	if len(l.full) > maxFailing {
		t.Errorf("%d addresses are remembered", len(l.full))
	}
	// All addresses of one household count as one.
	six := netip.MustParseAddr("2001:db8:1:2::")
	for range failureBurst {
		six = six.Next()
		l.take(six, now)
	}
	if l.take(netip.MustParseAddr("2001:db8:1:2:ffff::1"), now) == 0 {
		t.Error("another address of the same /64 has its own limit")
	}
	if l.take(netip.MustParseAddr("2001:db8:1:3::1"), now) != 0 {
		t.Error("the next /64 has no limit of its own")
	}
}

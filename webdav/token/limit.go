package token

import (
	"net/netip"
	"sync"
	"time"
)

const (
	failureBurst = 100         // wrong tokens that an address may show at once
	failureEvery = time.Second // what it takes to be allowed one more
	maxFailing   = 10_000      // addresses that are remembered
)

// A failureLimit counts failures by address: a token bucket for each. An IPv6
// client has a whole /64 to choose addresses from, so that is what counts. The
// zero value is ready.
type failureLimit struct {
	mu sync.Mutex
	// full says when a bucket will be full again; an address without an entry has
	// a full one.
	full map[netip.Addr]time.Time
}

// take counts a failure, and returns how long to wait if there have been too
// many; otherwise 0.
func (l *failureLimit) take(addr netip.Addr, now time.Time) time.Duration {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full[addr]
	if full.Before(now) {
		full = now
	}
	if over := full.Sub(now) + failureEvery - failureBurst*failureEvery; over > 0 {
		return over
	}
	if _, known := l.full[addr]; !known && len(l.full) >= maxFailing {
		l.forget(now)
	}
	if l.full == nil {
		l.full = map[netip.Addr]time.Time{}
	}
	l.full[addr] = full.Add(failureEvery)
	return 0
}

// forget makes room: first of those whose bucket is full again, and where that
// is not enough, of half of the others, whichever they are.
func (l *failureLimit) forget(now time.Time) {
	for addr, full := range l.full {
		if !full.After(now) {
			delete(l.full, addr)
		}
	}
	for addr := range l.full {
		if len(l.full) <= maxFailing/2 {
			return
		}
		delete(l.full, addr)
	}
}

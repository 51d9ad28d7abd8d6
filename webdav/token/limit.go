package token

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	failureBurst = 100         // wrong tokens that an address may show at once
	failureEvery = time.Second // what it takes to be allowed one more
	maxFailing   = 10_000      // addresses that are remembered
	// maxSeen is how many wrong tokens of an address are remembered. A Nix shows the
	// same mistyped one with each of a hundred requests, and a machine has few.
	maxSeen = 8
)

// A failureLimit counts wrong tokens by address: a token bucket for each. The same
// token again is not a further guess, and costs nothing. An IPv6 client has a whole /64
// to choose addresses from, so that is what counts. The zero value is ready.
type failureLimit struct {
	mu sync.Mutex
	// An address without an entry has a full bucket.
	failing map[netip.Addr]failing
	seed    maphash.Seed
}

// failing is what is remembered of an address.
type failing struct {
	full time.Time // when its bucket will be full again
	seen []uint64  // keyed hashes of the latest wrong tokens, the latest first
}

// take counts a failure, unless it is one again, and returns how long to wait if there
// have been too many; otherwise 0. A secret that is "" is never one again.
func (l *failureLimit) take(addr netip.Addr, secret string, now time.Time) (wait time.Duration, again bool) {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing == nil {
		l.failing, l.seed = map[netip.Addr]failing{}, maphash.MakeSeed()
	}
	f, known := l.failing[addr]
	guess := maphash.String(l.seed, secret)
	if secret != "" && slices.Contains(f.seen, guess) {
		return 0, true
	}
	if f.full.Before(now) {
		f.full = now
	}
	if over := f.full.Sub(now) + failureEvery - failureBurst*failureEvery; over > 0 {
		return over, false
	}
	if !known && len(l.failing) >= maxFailing {
		l.forget(now)
	}
	f.full = f.full.Add(failureEvery)
	f.seen = slices.Insert(f.seen[:min(len(f.seen), maxSeen-1)], 0, guess)
	l.failing[addr] = f
	return 0, false
}

// forget makes room: first of those whose bucket is full again, and where that
// is not enough, of half of the others, whichever they are.
func (l *failureLimit) forget(now time.Time) {
	for addr, f := range l.failing {
		if !f.full.After(now) {
			delete(l.failing, addr)
		}
	}
	for addr := range l.failing {
		if len(l.failing) <= maxFailing/2 {
			return
		}
		delete(l.failing, addr)
	}
}

// Package share divides what a server has among its clients, so that one client
// costs others nothing: places, and bytes of memory.
//
// A client takes a part of a [Pool] for as long as it needs it. It may hold as
// much as it leaves free: half of a pool that it alone uses, half of the rest where
// others use it too. So one client never holds all, and the second finds room. A
// request that does not get its part at once waits, and clients that wait hurry
// those that hold more.
//
// The package imports nothing of this project.
package share

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// A Client is the party that a request is made for: the name of its token, or its
// network where it showed none. Empty is the server itself.
type Client string

// ClientOf returns the client of a request that showed a token, "" for none, and came
// from an address with a port, as in http.Request. Every address of a network
// that one client may choose from is one client.
func ClientOf(token, remote string) Client {
	if token != "" {
		return Client("token " + token) // no address has a blank
	}
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "local" // a Unix socket, whose peer says nothing
	}
	return Client(network(peer.Addr()).String())
}

// pseudonymLen is the length of one in bytes.
const pseudonymLen = 16

// Pseudonym returns a name for the client that can stand in a key of a tree and tells strangers
// nothing. It is its own pseudonym. Pools and budgets know clients by it: so a client that
// is known from its request is the same one as a client that is known from what it left in
// the tree.
func (c Client) Pseudonym() Client {
	if _, err := hex.DecodeString(string(c)); c == "" || err == nil && len(c) == pseudonymLen {
		return c // ClientOf returns none like that: an address has a dot or a colon, a token a blank
	}
	sum := sha256.Sum256([]byte(c))
	return Client(hex.EncodeToString(sum[:pseudonymLen/2]))
}

// network returns the part of an address that stands for its client: all of an
// IPv4 address, and the /64 of an IPv6 address, which is the least that a
// provider gives to anyone.
func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if prefix, err := addr.Prefix(64); addr.Is6() && err == nil {
		return prefix.Addr()
	}
	return addr
}

type clientKey struct{}

type hurryKey struct{}

type goneKey struct{}

// As returns a context for what is done for a client.
func As(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// From returns the client that something is done for.
func From(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// Hurried returns a context for what can be done faster. While a part is held
// that was taken with it, and a client that holds much less waits for one, f is
// called each second with the time that it has waited; once more, perhaps, after
// the part was given back.
func Hurried(ctx context.Context, f func(waited time.Duration)) context.Context {
	return context.WithValue(ctx, hurryKey{}, f)
}

// goneEvery is how often clients are looked after.
const goneEvery = time.Second

// errGone is why the context of UntilGone ends.
var errGone = fmt.Errorf("the client is gone: %w", context.Canceled)

// UntilGone returns a context that ends when its client goes, if there is a way to
// tell: see Watched. Its second result is to be called when the work is done.
func UntilGone(ctx context.Context) (context.Context, func()) {
	gone, ok := ctx.Value(goneKey{}).(func() bool)
	if !ok {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(goneEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if gone() {
			cancel(errGone)
			return
		}
		timer.Reset(goneEvery)
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// Watched returns a context for what is done for a client that may go without the
// context being ended by that: a server that has not read a request to its end
// does not look at its connection. Gone is asked while UntilGone works.
func Watched(ctx context.Context, gone func() bool) context.Context {
	return context.WithValue(ctx, goneKey{}, gone)
}

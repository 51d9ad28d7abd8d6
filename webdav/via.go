package webdav

import (
	"context"
	"crypto/rand"
	"net/http"
	"regexp"
	"strings"
)

// Caches may name each other as upstreams. Each would ask the other for what both lack, and
// wait for the answer to its own question. So a question has the names of the
// servers that it went through, in the header Via (RFC 9110), and a server that finds its
// own there answers 508.

// maxHops is how many servers a question may go through.
const maxHops = 8

// serverName is a name in a Via. All else is dropped: a client may have sent it.
var serverName = regexp.MustCompile(`\bnixstatic-[0-9a-z]{26}\b`)

// NewServerName makes a name that no other server has, for Config.Name.
func NewServerName() string { return "nixstatic-" + strings.ToLower(rand.Text()) }

type viaKey struct{}

// WithVia returns a context for what is asked of others because of a request in another
// context.
func WithVia(ctx, request context.Context) context.Context {
	if via := Via(request); via != "" {
		return context.WithValue(ctx, viaKey{}, via)
	}
	return ctx
}

// Via returns the names of the servers that a request went through, "" for none.
func Via(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}

// ViaHeader returns the header for a question of the server of that name.
func ViaHeader(ctx context.Context, name string) string {
	var hops []string
	for _, hop := range append(strings.Fields(Via(ctx)), name) {
		hops = append(hops, "1.1 "+hop)
	}
	return strings.Join(hops, ", ")
}

// via returns a context that knows the servers which a request went through, and whether
// this one is among them, or they are too many.
func (h *Handler) via(ctx context.Context, r *http.Request) (_ context.Context, loops bool) {
	values := r.Header.Values("Via")
	if len(values) == 0 {
		return ctx, false
	}
	hops := serverName.FindAllString(strings.Join(values, ","), maxHops)
	for _, hop := range hops {
		loops = loops || hop == h.cfg.Name
	}
	if len(hops) == 0 {
		return ctx, false
	}
	return context.WithValue(ctx, viaKey{}, strings.Join(hops, " ")), loops || len(hops) == maxHops
}

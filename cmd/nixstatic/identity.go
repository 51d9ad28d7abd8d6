package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/runner"
)

// passes are what caches gave to this process for the identity of its job.
var passes struct {
	sync.Mutex
	by map[string]runner.Pass // by the URL of the cache
}

// passFor returns what a cache gives to this job, the zero value if there is no runner that
// says who it is, or no cache that asks.
func passFor(ctx context.Context, cache string) (runner.Pass, error) {
	job := runner.Find(os.Getenv)
	if job == nil {
		return runner.Pass{}, nil
	}
	audience := os.Getenv("NIXSTATIC_AUDIENCE")
	if audience == "" {
		var err error
		if audience, err = runner.Audience(cache); err != nil {
			return runner.Pass{}, nil // over plain HTTP there is no identity
		}
	}
	passes.Lock()
	defer passes.Unlock()
	if p, ok := passes.by[cache]; ok && time.Until(p.Until) > 5*time.Minute {
		return p, nil
	}
	raw, err := job.Token(ctx, audience)
	if err != nil {
		return runner.Pass{}, err
	}
	p, err := runner.Exchange(ctx, cache, raw)
	if errors.Is(err, runner.ErrNone) {
		return runner.Pass{}, nil
	}
	if refused := (*runner.RefusedError)(nil); errors.As(err, &refused) {
		return p, withHint(err, "serve --oidc says there which jobs are let in; its audience has to be %s; docs/ci.md tells more", audience)
	}
	if err != nil {
		return p, fmt.Errorf("show who this job is: %w", err)
	}
	if passes.by == nil {
		passes.by = map[string]runner.Pass{}
	}
	passes.by[cache] = p
	return p, nil
}

// withIdentity adds what a cache gives to this job to its URL, if there are neither a user
// name nor a netrc for it.
func withIdentity(ctx context.Context, web string, o httpcache.Options) (string, error) {
	known, err := httpcache.Authorized(web, o)
	if known || err != nil {
		return web, nil // the one who opens it words the error
	}
	p, err := passFor(ctx, web)
	if p.Token == "" || err != nil {
		return web, err
	}
	u, err := url.Parse(web)
	if err != nil {
		return web, nil
	}
	u.User = url.UserPassword("oidc", p.Token)
	return u.String(), nil
}

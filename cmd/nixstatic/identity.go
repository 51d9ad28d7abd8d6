package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/runner"
)

// A pass is good for some time, and is asked for anew when little of that is left.
const (
	passLeft  = 5 * time.Minute
	passPause = 30 * time.Second // after a pass could not be had, while the last one is good
)

// passes are what caches gave to this process for the identity of its job.
var passes struct {
	sync.Mutex
	by    map[string]runner.Pass // by the URL of the cache
	tried time.Time
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
	last := passes.by[cache]
	left := time.Until(last.Until)
	if left > passLeft || left > 0 && time.Since(passes.tried) < passPause {
		return last, nil
	}
	passes.tried = time.Now()
	p, err := newPass(ctx, job, cache, audience)
	switch {
	case err != nil && left > 0:
		return last, nil
	case err != nil || p.Token == "":
		return p, err
	}
	if passes.by == nil {
		passes.by = map[string]runner.Pass{}
	}
	passes.by[cache] = p
	return p, nil
}

func newPass(ctx context.Context, job *runner.Runner, cache, audience string) (runner.Pass, error) {
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
	return p, nil
}

// identity returns what a cache at a URL gives to this job, as a user name and a password for
// as long as this process needs them; nil if it gives nothing, or if there are a user name
// and a password already.
func identity(ctx context.Context, web string, o httpcache.Options) (func(context.Context) (user, password string), error) {
	known, err := httpcache.Authorized(web, o)
	if known || err != nil {
		return nil, nil // the one who opens it words the error
	}
	p, err := passFor(ctx, web)
	if p.Token == "" || err != nil {
		return nil, err
	}
	return func(ctx context.Context) (user, password string) {
		if renewed, err := passFor(ctx, web); err == nil && renewed.Token != "" {
			return "oidc", renewed.Token
		}
		return "oidc", p.Token
	}, nil
}

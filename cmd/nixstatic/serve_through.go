package main

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/metrics"
	"github.com/nixstatic/nixstatic/webdav/through"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

// A pulling is what serve --pull-through fetches from.
type pulling struct {
	name    string                   // of this server, see webdav.NewServerName
	caches  []upstream.Cache         // for records
	nars    map[string]layout.Reader // by URL, for NARs
	timeout time.Duration
	ups     *upstream.Upstreams // of the caches, once they are open
}

func throughFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "pull-through", Usage: "when a reader asks for what the cache lacks, fetch it from the binary cache at `URL`, check it, sign it with --secret-key-file, and keep it; may be repeated, the first that has a path is fetched from"},
		&cli.StringSliceFlag{Name: "pull-through-key", Usage: "`KEY` of the cache of the same place in the order (not needed for https://cache.nixos.org)"},
		&cli.StringSliceFlag{Name: "pull-through-only", Usage: "fetch only paths whose names match `PATTERN`, such as 'python3*'; may be repeated"},
		&cli.StringFlag{Name: "pull-through-timeout", Value: "30s", Usage: "give up a fetch of which less than 64 KiB came in `DURATION`"},
	}
}

// readPulling opens the caches of --pull-through, nil if there are none. None is asked
// anything yet.
func readPulling(c *cli.Context, log *slog.Logger) (*pulling, error) {
	urls := c.StringSlice("pull-through")
	if len(urls) == 0 {
		for _, flag := range []string{"pull-through-key", "pull-through-only", "pull-through-timeout"} {
			if c.IsSet(flag) {
				return nil, usage("--%s goes with --pull-through", flag)
			}
		}
		return nil, nil
	}
	if c.Bool("read-only") {
		return nil, usage("--pull-through and --read-only exclude each other: what is fetched is kept in the cache. Without a token no client may upload")
	}
	timeout, err := durationFlag(c, "pull-through-timeout")
	if err != nil {
		return nil, err
	}
	if timeout < time.Second {
		return nil, usage("--pull-through-timeout %s: want a second at least", timeout)
	}
	p := &pulling{name: webdav.NewServerName(), timeout: timeout, nars: map[string]layout.Reader{}}
	only, err := readOnly(c.StringSlice("pull-through-only"))
	if err != nil {
		return nil, err
	}
	if p.caches, err = readCaches(c, "pull-through", p.via); err != nil {
		return nil, err
	}
	for i, url := range urls {
		// Some caches build the NAR that they are asked for, and no reader can do without.
		nars, _, err := openReader(c, url, httpcache.Options{Stall: p.timeout, Patience: min(upstreamTimeout, p.timeout), Log: log, Via: p.via})
		if err != nil {
			return nil, fmt.Errorf("open upstream: %w", err)
		}
		if !c.Bool("private") {
			warnOfLogin(log, url, p.caches[i].URL)
		}
		p.caches[i].Only = only
		p.nars[p.caches[i].URL] = nars
	}
	return p, nil
}

// warnOfLogin tells of a cache behind a login, named so in the log, that any client of a
// public server reads.
func warnOfLogin(log *slog.Logger, url, name string) {
	if login, err := httpcache.Authorized(url, httpcache.Options{}); err == nil && login {
		log.Warn("every client may read here what this upstream gives to those with a password alone: see --private", "upstream", name)
	}
}

// readOnly makes one test of patterns for the names of store paths, nil if there are
// none.
func readOnly(patterns []string) (func(layout.StorePath) bool, error) {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || strings.Contains(pattern, "/") {
			return nil, usage("--pull-through-only %q: want a pattern for names of store paths without their hashes, such as 'python3*'", pattern)
		}
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	return func(p layout.StorePath) bool {
		for _, pattern := range patterns {
			if ok, _ := path.Match(pattern, p.Name()); ok {
				return true
			}
		}
		return false
	}, nil
}

// keys are those of the caches: their word is taken for what was fetched from there.
func (p *pulling) keys() (keys signer.Trusted) {
	for _, cache := range p.caches {
		keys = append(keys, cache.Keys...)
	}
	return keys
}

// via is the header by which servers that ask each other notice it.
func (p *pulling) via(ctx context.Context) string { return webdav.ViaHeader(ctx, p.name) }

// open makes what finds records.
func (p *pulling) open(c *cli.Context, policy *inbox.Config) (err error) {
	policy.Known = p.keys()
	p.ups, err = upstream.Open(c.Context, upstream.Config{Tree: policy.Writer.Tree, StoreDir: policy.Writer.StoreDir,
		Caches: p.caches, Timeout: min(upstreamTimeout, p.timeout), Log: policy.Log})
	return err
}

// filler makes what answers readers.
func (p *pulling) filler(s *service, policy *inbox.Config, keys []signer.SecretKey) *through.Filler {
	s.health.Upstreams = func() (alone []metrics.Upstream) {
		for _, state := range p.ups.States() {
			alone = append(alone, metrics.Upstream{URL: state.URL, Alone: state.Alone})
		}
		return alone
	}
	return through.New(through.Config{Upstreams: p.ups, NARs: p.nars, Inbox: s.inbox, Tree: policy.Writer.Tree, StoreDir: policy.Writer.StoreDir,
		Keys: keys, Vouched: p.keys(), Timeout: p.timeout, Metrics: s.metrics, Log: policy.Log})
}

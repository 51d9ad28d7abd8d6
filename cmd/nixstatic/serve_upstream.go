package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

// upstreamTimeout is short: clients wait for the answer, and can do without.
const upstreamTimeout = 5 * time.Second

// readUpstreams opens the caches of --upstream, each with its keys. None is
// asked anything yet.
func readUpstreams(c *cli.Context) ([]upstream.Cache, error) {
	return readCaches(c, "upstream", nil)
}

// readCaches opens the caches of a flag, each with its keys, which the flag of that name
// with "-key" has. For via see httpcache.Options.
func readCaches(c *cli.Context, flag string, via func(context.Context) string) ([]upstream.Cache, error) {
	urls := c.StringSlice(flag)
	keys, err := pairKeys(flag, urls, c.StringSlice(flag+"-key"))
	if err != nil {
		return nil, err
	}
	var caches []upstream.Cache
	for i, url := range urls {
		cache := upstream.Cache{}
		if cache.Keys, err = signer.ParseTrusted(keys[i]); err != nil {
			return nil, usage("--%s-key: %v", flag, err)
		}
		// The log is told of a cache that does not answer, and not of each question to it.
		reader, name, err := openReader(c, url, httpcache.Options{Stall: upstreamTimeout, Attempts: 2, RetryDelay: 100 * time.Millisecond, Patience: 3 * time.Second, Via: via})
		if err != nil {
			return nil, fmt.Errorf("open upstream: %w", err)
		}
		if layout.TraitsOf(reader).Path != "" {
			name = "file://" + name
		}
		cache.URL, cache.Reader = strings.TrimSuffix(name, "/"), reader
		caches = append(caches, cache)
	}
	return caches, nil
}

// pairKeys returns the keys of each upstream, parted by blanks. The n-th key is
// the n-th upstream's, where cache.nixos.org is passed over if there are too few
// for all; a single upstream may have several.
func pairKeys(flag string, urls, keys []string) ([]string, error) {
	isNixOS := func(url string) bool { return strings.TrimRight(url, "/") == "https://cache.nixos.org" }
	if len(urls) == 1 && len(keys) > 0 {
		return []string{strings.Join(keys, " ")}, nil
	}
	all := len(keys) == len(urls)
	var paired []string
	for _, url := range urls {
		switch {
		case !all && isNixOS(url):
			paired = append(paired, nixosKey)
		case len(keys) == 0:
			return nil, usage("--%s %s needs its public key: give --%s-key", flag, url, flag)
		default:
			paired, keys = append(paired, keys[0]), keys[1:]
		}
	}
	if len(keys) > 0 {
		return nil, usage("there are more --%s-key than --%s", flag, flag)
	}
	return paired, nil
}

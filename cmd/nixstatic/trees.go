package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/forge"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// An openedTree is a tree that the command closes.
type openedTree interface {
	layout.Tree
	io.Closer
}

// openTree opens the tree at a location, for a use that is not to mirror.
func openTree(c *cli.Context, text string, for_ use) (openedTree, error) {
	loc, err := locate(c, text, for_)
	if err != nil {
		return nil, err
	}
	return openLocated(c, loc)
}

// openLocated opens the tree in a directory or a bucket.
func openLocated(c *cli.Context, loc location) (openedTree, error) {
	if loc.scheme == inForge {
		return openForge(c, loc)
	}
	// A nil Dir or bucket in the interface would be no nil.
	if loc.scheme == inBucket {
		loc.bucket.ProveFirst = true
		loc.bucket.Alone = func() { say(c, "warning: %s", noConditions) }
		bucket, err := openBucket(c, loc)
		if err != nil {
			return nil, err
		}
		return tellBucket(c, bucket), nil
	}
	dir, err := layout.OpenDir(loc.path)
	if err != nil {
		return nil, err
	}
	return tellDir(c, dir), nil
}

// openForge opens the tree in a package registry. A token in the environment counts for
// more than netrc.
func openForge(c *cli.Context, loc location) (openedTree, error) {
	o := httpOptions(c)
	for _, name := range []string{"NIXSTATIC_FORGE_TOKEN", "GITEA_TOKEN", "FORGEJO_TOKEN"} {
		if o.Token = os.Getenv(name); o.Token != "" {
			break
		}
	}
	registry, err := forge.Open(loc.forge, o)
	if err != nil {
		return nil, err // a nil Registry in the interface would be no nil
	}
	return registry, nil
}

// openPruned opens a tree to be pruned. A run that finds nothing to do is not to try
// out what the store of a bucket can do.
func openPruned(c *cli.Context, text string) (openedTree, layout.CacheInfo, error) {
	loc, err := locate(c, text, changeTree)
	if err != nil {
		return nil, layout.CacheInfo{}, err
	}
	if loc.scheme != inBucket {
		return existingTree(c, text)
	}
	bucket, err := openBucket(c, loc)
	if err != nil {
		return nil, layout.CacheInfo{}, err
	}
	return existing(c, bucket, text)
}

// An openedOrigin is what a mirror can read from.
type openedOrigin interface {
	layout.Lister
	io.Closer
}

// openPush opens what paths can be pushed to: a tree, or a server that takes PUT, at its
// URL for a run. The log, which may be nil, is told of requests that are made again.
func openPush(c *cli.Context, text string, id layout.RunID, retries *slog.Logger) (openedTree, error) {
	loc, err := locate(c, text, pushTo)
	if err != nil {
		return nil, err
	}
	if loc.scheme != onWeb {
		return openLocated(c, loc)
	}
	loc.web = ofRun(c, loc.web, id)
	o := httpOptions(c)
	o.Log = retries
	if o.Password, err = identity(c.Context, loc.web, o); err != nil {
		return nil, err
	}
	put, err := httpcache.OpenPut(loc.web, o)
	if err != nil {
		return nil, err // a nil PutServer in the interface would not be nil
	}
	return put, nil
}

// openOrigin opens a tree, or a cache behind a web server that lists it.
func openOrigin(c *cli.Context, text string) (openedOrigin, error) {
	loc, err := locate(c, text, readTree)
	if err != nil {
		return nil, err
	}
	if loc.scheme != onWeb {
		return openLocated(c, loc)
	}
	cache, err := httpcache.OpenWebDAV(c.Context, loc.web, httpOptions(c))
	if errors.Is(err, layout.ErrNotListable) {
		return nil, withHint(fmt.Errorf("%w: name the paths whose closure is wanted", err),
			"nixstatic sync %s DESTINATION /nix/store/…; a directory or a bucket can be mirrored whole, and so can what nixstatic serve gives out", loc.text)
	}
	if err != nil {
		return nil, err
	}
	return cache, nil
}

// openReader opens what records and NARs are read from by name.
func openReader(c *cli.Context, text string, o httpcache.Options) (reader openedReader, name string, err error) {
	loc, err := locate(c, text, readCache)
	if err != nil {
		return nil, "", err
	}
	if loc.scheme == onWeb {
		cache, err := httpcache.Open(loc.web, o)
		if err != nil {
			return nil, "", err
		}
		return cache, cache.URL(), nil
	}
	tree, err := openLocated(c, loc)
	if err != nil {
		return nil, "", err
	}
	return tree, treeName(tree, text), nil
}

// An openedReader is a cache that the command closes.
type openedReader interface {
	layout.Reader
	io.Closer
}

func httpOptions(c *cli.Context) httpcache.Options {
	return httpcache.Options{Netrc: c.String("netrc-file"), UserAgent: "nixstatic/" + version()}
}

// openDest opens what a mirror can write to: a tree, or a server that takes PUT.
func openDest(c *cli.Context, text string) (openedTree, error) {
	loc, err := locate(c, text, takeObjects)
	if err != nil {
		return nil, err
	}
	switch loc.scheme {
	case inBucket:
		// The lock of a mirror finds out by itself what the store supports, and a
		// run that changes one page is not to cost two dozen requests.
		bucket, err := openBucket(c, loc)
		if err != nil {
			return nil, err
		}
		if loc.bucket.OneWriter {
			bucket.AssumeOneWriter()
		}
		return bucket, nil
	case onWeb:
		put, err := httpcache.OpenPut(loc.web, httpOptions(c))
		if err != nil {
			return nil, err
		}
		return put, nil
	}
	return openLocated(c, loc)
}

// treeName names a tree for people and files.
func treeName(tree layout.Reader, text string) string {
	if path := layout.TraitsOf(tree).Path; path != "" {
		return path
	}
	return withoutUser(text)
}

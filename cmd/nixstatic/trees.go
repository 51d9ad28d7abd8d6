package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// An openedTree is a tree that the command closes.
type openedTree interface {
	layout.Tree
	io.Closer
}

// openTree opens the tree at a location as Nix users write it: a directory, a
// file:// URL, or s3://bucket/prefix?….
func openTree(c *cli.Context, location string) (openedTree, error) {
	// A nil Dir or bucket in the interface would be no nil.
	if isBucket(location) {
		bucket, err := openBucket(c, location, nil)
		if err != nil {
			return nil, err
		}
		return bucket, nil
	}
	if isHTTP(location) {
		return nil, usage("%s cannot be written to like a tree: want a directory, a file:// URL or s3://…; nixstatic sync knows servers that take PUT", withoutUser(location))
	}
	dir, err := openDir(location)
	if err != nil {
		return nil, err
	}
	return dir, nil
}

// An openedOrigin is what a mirror can read from.
type openedOrigin interface {
	layout.Lister
	io.Closer
}

// openOrigin opens a tree, or a cache behind a web server that lists it.
func openOrigin(c *cli.Context, location string) (openedOrigin, error) {
	if !isHTTP(location) {
		return openTree(c, location)
	}
	cache, err := httpcache.OpenWebDAV(c.Context, location, httpOptions(c))
	if errors.Is(err, layout.ErrNotListable) {
		return nil, withHint(fmt.Errorf("%w: name the paths whose closure is wanted", err),
			"nixstatic sync %s DESTINATION /nix/store/…; a directory or a bucket can be mirrored whole, and so can what nixstatic serve gives out", withoutUser(location))
	}
	if err != nil {
		return nil, err
	}
	return cache, nil
}

func httpOptions(c *cli.Context) httpcache.Options {
	return httpcache.Options{Netrc: c.String("netrc-file"), UserAgent: "nixstatic/" + version()}
}

// openDest opens what a mirror can write to: a tree, or a server that takes PUT.
func openDest(c *cli.Context, location string) (openedTree, error) {
	if isBucket(location) {
		bucket, err := openBucket(c, location, nil)
		if err != nil {
			return nil, err
		}
		// The lock of a mirror finds out by itself what the store keeps to, and a
		// run that changes one page is not to cost two dozen requests.
		if bucket.oneWriter {
			bucket.AssumeOneWriter()
		}
		return bucket.Bucket, nil
	}
	if !isHTTP(location) {
		return openTree(c, location)
	}
	put, err := httpcache.OpenPut(location, httpOptions(c))
	if err != nil {
		return nil, err
	}
	return put, nil
}

// treeName names a tree for people and files.
func treeName(tree layout.Reader, location string) string {
	if path := layout.TraitsOf(tree).Path; path != "" {
		return path
	}
	return withoutUser(location)
}

func isHTTP(location string) bool {
	return strings.HasPrefix(location, "http://") || strings.HasPrefix(location, "https://")
}

// withoutUser drops a user name and a password from a URL.
func withoutUser(location string) string {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		return location
	}
	host, path, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndexByte(host, '@')+1:]
	if slash {
		host += "/"
	}
	return scheme + "://" + host + path
}

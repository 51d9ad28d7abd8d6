package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	treesync "github.com/nixstatic/nixstatic/sync"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// An openedTree is a tree that the command closes.
type openedTree interface {
	layout.Tree
	io.Closer
}

// openTree opens the tree at a location as Nix users write it: a directory, a
// file:// URL, or s3://bucket/prefix?….
func openTree(c *cli.Context, location string) (openedTree, error) {
	if strings.HasPrefix(location, "s3://") {
		return openBucket(c, location)
	}
	if isHTTP(location) {
		return nil, usage("%s cannot be written to like a tree: want a directory, a file:// URL or s3://…; nixstatic sync knows servers that take PUT", withoutUser(location))
	}
	// A nil Dir in the interface would be no nil.
	dir, err := openDir(location)
	if err != nil {
		return nil, err
	}
	return dir, nil
}

func openBucket(c *cli.Context, location string) (openedTree, error) {
	loc, err := s3.ParseURL(location)
	if err != nil {
		return nil, usage("%v", err)
	}
	if len(loc.Ignored) > 0 {
		say(c, "note: what means something to Nix alone is passed over: %s", strings.Join(loc.Ignored, ", "))
	}
	bucket, err := s3.Open(c.Context, loc)
	if err != nil {
		return nil, err
	}
	if why, anonymous := bucket.Credentials(); anonymous {
		say(c, "note: requests to %s are not signed: %s", bucket.URL(), why)
	}
	return bucket, nil
}

// openDest opens what a mirror can write to: a tree, or a server that takes PUT.
func openDest(c *cli.Context, location string) (openedTree, error) {
	if !isHTTP(location) {
		return openTree(c, location)
	}
	put, err := treesync.OpenPut(location, treesync.HTTPOptions{Netrc: c.String("netrc-file"), UserAgent: "nixstatic/" + version()})
	if err != nil {
		return nil, err
	}
	return put, nil
}

// treeName names a tree for people and files.
func treeName(tree layout.Tree, location string) string {
	if dir, ok := tree.(*layout.Dir); ok {
		return dir.Path()
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

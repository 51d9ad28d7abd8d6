package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/s3"
)

const (
	// A directory is counted for the metrics as often as that costs nothing. In a
	// bucket each thousand objects are a request that has a price.
	countDir    = 10 * time.Minute
	countBucket = 6 * time.Hour

	// presignedFor is how long after the redirect a reader may begin to read. It
	// does so at once; the rest is for clocks that differ. An answer that has begun
	// may take as long as it takes.
	presignedFor = 15 * time.Minute

	// readAttempts is how often a store is asked for what a reader wants, in some
	// three seconds. A reader comes again by itself, unlike an old Nix whose upload
	// fails: for those the store is tried eight times.
	readAttempts = 5

	// redirectTimeout is for a look at the start, which nothing depends on.
	redirectTimeout = 5 * time.Second
)

// A servedTree is the tree that serve works on, with what depends on whether it is
// a directory or a bucket. It is not a Tree itself: that would hide what a
// directory can do better.
type servedTree struct {
	Tree       openedTree
	reading    openedTree // the same for readers, who are told sooner of trouble
	name       string     // for people
	volume     disk       // where the bytes of an upload lie while they are checked
	countEvery time.Duration
	redirect   func(context.Context, layout.Key) (string, error) // nil: NARs are read here
}

func (s *servedTree) close() error {
	if s.reading == s.Tree {
		return s.Tree.Close()
	}
	return errors.Join(s.reading.Close(), s.Tree.Close())
}

// openServed opens the tree to serve.
func openServed(c *cli.Context, text string, log *slog.Logger) (*servedTree, error) {
	loc, err := locate(c, text, serveTree)
	if err != nil {
		return nil, err
	}
	if loc.scheme == inBucket {
		return openServedBucket(c, loc, log)
	}
	if c.IsSet("redirect") {
		return nil, usage("--redirect needs a cache in a bucket: the NARs of a directory are on this machine alone")
	}
	dir, err := layout.OpenDir(loc.path)
	if err != nil {
		return nil, err
	}
	return &servedTree{Tree: tellDir(c, dir), reading: dir, name: dir.Path(), volume: narDisk(dir), countEvery: countDir}, nil
}

// narDisk is where the NARs of a tree are: their folder may be a file system of
// its own.
func narDisk(dir *layout.Dir) disk {
	return disk{filepath.Join(dir.Path(), layout.NARFolder), dir.Path()}
}

// openServedBucket opens a bucket, and finds out whether it can be served. A
// missing bucket is for nixstatic init to make.
func openServedBucket(c *cli.Context, loc location, log *slog.Logger) (_ *servedTree, err error) {
	if c.IsSet("min-free") {
		return nil, usage("--min-free is about the disk that a directory is on, and a bucket has none; uploads are checked in TMPDIR, of which 1 GiB, or 2%% of a small disk, stays free")
	}
	loc.bucket.Log = log
	bucket, err := openBucket(c, loc)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			bucket.Close()
		}
	}()
	at := loc.bucket
	at.Attempts = readAttempts
	reading, err := s3.Open(c.Context, at)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			reading.Close()
		}
	}()
	s := &servedTree{Tree: tellBucket(c, bucket), reading: reading, name: bucket.URL(), volume: disk{os.TempDir()}, countEvery: countBucket}
	if err := tellsAbsence(c.Context, bucket); err != nil {
		return nil, err
	}
	if s.redirect, err = redirection(c, bucket, log); err != nil {
		return nil, err
	}
	if c.Bool("read-only") {
		return s, nil
	}
	file, err := layout.TempSpool("").Create()
	if err != nil {
		return nil, withHint(err, "uploads are checked in a folder for temporary files: name one with TMPDIR")
	}
	file.Discard()
	return s, proveWriters(c.Context, bucket, loc, log)
}

// tellsAbsence asks for an object that there is none of. A store that answers
// that this is forbidden would have clients fail where they should build.
func tellsAbsence(ctx context.Context, bucket *s3.Bucket) error {
	_, err := bucket.Stat(ctx, layout.NARKey(layout.Hash{}, ""))
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return withHint(fmt.Errorf("the store does not tell what is absent: %w", err),
			"the credentials may not read, or not list the bucket (s3:GetObject, s3:ListBucket); Amazon tells only those what is absent who may list it")
	}
	return err
}

// redirection is what --redirect asks for.
func redirection(c *cli.Context, bucket *s3.Bucket, log *slog.Logger) (func(context.Context, layout.Key) (string, error), error) {
	where := c.String("redirect")
	switch {
	case where == "":
		return nil, nil
	case uploadPrefix(c) == "/" && !c.Bool("read-only"):
		return nil, usage("--redirect and --upload-prefix / exclude each other: the URL that takes uploads never redirects")
	case where == "presigned":
		if why, anonymous := bucket.Credentials(); anonymous {
			return nil, usage("--redirect presigned needs credentials to sign with: %s", why)
		}
		return func(ctx context.Context, key layout.Key) (string, error) {
			return bucket.Presign(ctx, key, presignedFor)
		}, nil
	case c.Bool("private"):
		return nil, usage("--redirect %s would let everyone read what --private keeps from them: choose presigned, or leave it out", where)
	}
	base, err := url.Parse(where)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, usage("--redirect %s: want presigned, or the URL at which anyone can read the same cache, such as https://cdn.example.org/cache", where)
	}
	where = strings.TrimRight(base.String(), "/") + "/"
	sameTree(c.Context, bucket, where, log)
	return func(_ context.Context, key layout.Key) (string, error) { return where + string(key), nil }, nil
}

// sameTree warns if the tree is not to be read where readers are sent to. Perhaps
// it will be in a minute: that is not an error.
func sameTree(ctx context.Context, bucket *s3.Bucket, where string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, redirectTimeout)
	defer cancel()
	ours, err := layout.ReadCacheInfo(ctx, bucket)
	if err != nil {
		return // of a tree that is about to be made, nothing can be said
	}
	there, err := httpcache.Open(where, httpcache.Options{Attempts: 1, UserAgent: "nixstatic/" + version()})
	if err == nil {
		defer there.Close()
		var theirs layout.CacheInfo
		if theirs, err = layout.ReadCacheInfo(ctx, there); err == nil && theirs != ours {
			err = fmt.Errorf("its %s is another", layout.CacheInfoKey)
		}
	}
	if err != nil {
		log.Warn("the cache cannot be read where --redirect sends readers", "url", where, "err", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// A bucketTree is a bucket to which nothing is written before its store was seen to
// keep to the conditions that several writers agree by. A command that only reads
// asks nothing of it.
type bucketTree struct {
	*s3.Bucket
	oneWriter bool   // the URL says that no other process writes
	alone     func() // is called where the store keeps to no conditions, and the URL does not say that

	mu     sync.Mutex
	probed bool
	can    s3.Capabilities
}

// Put stores an object.
func (b *bucketTree) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if _, err := b.probe(ctx); err != nil {
		return err
	}
	return b.Bucket.Put(ctx, key, body, opts)
}

// PutBatch stores groups of objects.
func (b *bucketTree) PutBatch(ctx context.Context, groups ...[]layout.Object) ([]layout.Key, error) {
	if _, err := b.probe(ctx); err != nil {
		return nil, err
	}
	return b.Bucket.PutBatch(ctx, groups...)
}

// probe finds out what the store keeps to, once in the life of the process. If the
// store keeps to no conditions, this process checks them from then on, which is
// right as long as no other process writes.
func (b *bucketTree) probe(ctx context.Context) (s3.Capabilities, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probed {
		return b.can, nil
	}
	can, err := b.Probe(ctx)
	if err != nil {
		return can, err
	}
	b.can, b.probed = can, true
	if !can.SeveralWriters() {
		b.AssumeOneWriter()
		if !b.oneWriter && b.alone != nil {
			b.alone()
		}
	}
	return can, nil
}

// newBucket makes the tree of a bucket. It makes no request yet.
func newBucket(c *cli.Context, loc s3.Location) (*bucketTree, error) {
	bucket, err := s3.New(c.Context, loc)
	if err != nil {
		return nil, err
	}
	if why, anonymous := bucket.Credentials(); anonymous {
		say(c, "note: requests to %s are not signed: %s", bucket.URL(), why)
	}
	return &bucketTree{Bucket: bucket, oneWriter: loc.OneWriter, alone: func() {
		say(c, "warning: %s", noConditions)
	}}, nil
}

// noConditions is said of a store that may have one writer.
const noConditions = "the store keeps to no conditions when it is written to: nothing else may write to this tree meanwhile"

// openBucket opens a bucket that is there. Its messages go to log, which may be
// nil.
func openBucket(c *cli.Context, loc location, log *slog.Logger) (*bucketTree, error) {
	at := loc.bucket
	at.Log = log
	b, err := newBucket(c, at)
	if err != nil {
		return nil, err
	}
	if err := b.Check(c.Context); err != nil {
		b.Close()
		if errors.Is(err, s3.ErrNoBucket) {
			return nil, withHint(err, "nixstatic init '%s' makes it; or check its name and the endpoint", loc.text)
		}
		return nil, schemeHint(err, loc)
	}
	return b, nil
}

// schemeHint spells out the URL of a store that speaks HTTPS and was asked in
// plain HTTP, or the other way round.
func schemeHint(err error, loc location) error {
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return withHint(err, "the store speaks plain HTTP: '%s'", withScheme(loc.text, "https", "http"))
	case errors.Is(err, s3.ErrHTTPS):
		return withHint(err, "leave out http, or say '%s'", withScheme(loc.text, "http", "https"))
	}
	return err
}

func withScheme(text, not, scheme string) string {
	for _, where := range []string{"scheme=", "endpoint="} {
		if before, after, found := strings.Cut(text, where+not); found && (after == "" || strings.IndexByte("&:%", after[0]) >= 0) {
			return before + where + scheme + after
		}
	}
	if strings.Contains(text, "?") {
		return text + "&scheme=" + scheme
	}
	return text + "?scheme=" + scheme
}

// proveWriters finds out whether several servers may take uploads into a bucket at
// once, and fails if they may not and the URL does not say that there is one alone:
// a server that runs for months is not to undo what others do.
func (b *bucketTree) proveWriters(ctx context.Context, location string) error {
	b.alone = nil // it is an error instead
	can, err := b.probe(ctx)
	if err != nil || can.SeveralWriters() || b.oneWriter {
		return err
	}
	parameter := "?"
	if strings.Contains(location, "?") {
		parameter = "&"
	}
	return withHint(fmt.Errorf("the store of %s keeps to no conditions (If-None-Match, If-Match) when it is written to: two who write at once would undo each other's work", b.URL()),
		"if this server is the only one that ever writes there, say so: '%s%sone-writer=true'", location, parameter)
}

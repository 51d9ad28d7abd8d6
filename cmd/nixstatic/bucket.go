package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/sync/s3"
)

// newBucket makes the tree of a bucket. It makes no request yet.
func newBucket(c *cli.Context, loc s3.Location) (*s3.Bucket, error) {
	bucket, err := s3.New(c.Context, loc)
	if err != nil {
		return nil, err
	}
	if why, anonymous := bucket.Credentials(); anonymous {
		say(c, "note: requests to %s are not signed: %s", bucket.URL(), why)
	}
	return bucket, nil
}

// noConditions is said of a store that may have one writer.
const noConditions = "the store does not support conditional writes: nothing else may write to this cache meanwhile"

// openBucket opens a bucket that is there.
func openBucket(c *cli.Context, loc location) (*s3.Bucket, error) {
	b, err := newBucket(c, loc.bucket)
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
func proveWriters(ctx context.Context, bucket *s3.Bucket, loc location, log *slog.Logger) error {
	can, err := bucket.Prove(ctx)
	if err != nil || can.SeveralWriters() {
		return err
	}
	if loc.bucket.OneWriter {
		log.Warn(noConditions)
		return nil
	}
	parameter := "?"
	if strings.Contains(loc.text, "?") {
		parameter = "&"
	}
	return withHint(fmt.Errorf("the store of %s does not support conditional writes (If-None-Match, If-Match): two who write at once would undo each other's work", bucket.URL()),
		"if this server is the only one that ever writes there, say so: '%s%sone-writer=true'", loc.text, parameter)
}

package main

import (
	"errors"

	"github.com/urfave/cli/v2"
)

// A preparedStore tells what init found in a bucket and made of it.
type preparedStore struct {
	Created bool `json:"created"` // by this run
	Public  bool `json:"public"`  // anyone may read, by --public
	// URL is where clients read that need no credentials.
	URL string `json:"url,omitempty"`
	// RemovesUnfinished says that the store removes unfinished uploads; if not,
	// Unwilling is why.
	RemovesUnfinished bool   `json:"removesUnfinishedUploads"`
	Unwilling         string `json:"unwilling,omitempty"`
	// SeveralWriters says that the store keeps to conditions, so that several
	// processes may write at once.
	SeveralWriters bool `json:"severalWriters"`
	ChecksBytes    bool `json:"checksBytes"` // refuses those without the SHA-256 announced

	name      string
	unasked   bool // it removes them without a rule
	oneWriter bool
}

// prepareBucket makes a bucket, or brings one up to date, and finds out what its
// store keeps to.
func prepareBucket(c *cli.Context, loc location) (_ openedTree, _ *preparedStore, err error) {
	bucket, err := newBucket(c, loc.bucket)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, bucket.Close())
		}
	}()
	prepared, err := bucket.Prepare(c.Context, c.Bool("public"))
	if err != nil {
		return nil, nil, schemeHint(err, loc)
	}
	can, err := bucket.Prove(c.Context)
	if err != nil {
		return nil, nil, err
	}
	store := &preparedStore{Created: prepared.Created, Public: prepared.Public,
		RemovesUnfinished: prepared.CleansUp, Unwilling: prepared.Unwilling,
		SeveralWriters: can.SeveralWriters(), ChecksBytes: can.Checksum, name: bucket.URL(), unasked: prepared.Unasked, oneWriter: loc.bucket.OneWriter}
	if store.Public {
		store.URL, err = bucket.WebURL(c.Context)
	}
	return bucket, store, err
}

// tell says it in lines for people.
func (s *preparedStore) tell(c *cli.Context) {
	what := "was there"
	if s.Created {
		what = "was made"
	}
	say(c, "the bucket of %s %s", s.name, what)
	if s.Public {
		say(c, "anyone may read the cache at %s, but neither list it, nor write to it, nor read what is in .nixstatic", s.URL)
	}
	switch {
	case s.unasked:
		say(c, "the store removes what broken uploads leave, after a day")
	case s.RemovesUnfinished:
		say(c, "the store removes what broken uploads leave, after a week")
	default:
		say(c, "note: the store takes no rule for what broken uploads leave (%s); some remove it unasked, others in their own console", s.Unwilling)
	}
	switch {
	case s.SeveralWriters:
		say(c, "the store supports conditional writes: several processes may write to the cache at once")
	case s.oneWriter:
		say(c, "warning: %s", noConditions)
	default:
		say(c, "warning: %s; nixstatic serve wants one-writer=true in the URL for that", noConditions)
	}
	if !s.ChecksBytes {
		say(c, "warning: the store does not compare what it receives with the SHA-256 that it is told: damage on the way would show at the readers")
	}
}

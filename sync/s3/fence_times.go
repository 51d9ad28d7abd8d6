//go:build !quickfence

package s3

import "time"

const (
	// stale is how old a request is that a store with the rules of S3 refuses: it
	// allows a quarter of an hour, either way.
	stale = 20 * time.Minute
	// lateUsually is how long after it was signed a request may take effect: the
	// store accepts it for a quarter of an hour, by clocks that are a quarter of an
	// hour apart, and is given the rest to finish it, of which no store says how
	// long it may take.
	lateUsually = 58 * time.Minute
)

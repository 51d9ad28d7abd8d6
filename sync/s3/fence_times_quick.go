//go:build quickfence

package s3

import "time"

// These are for a test that has seconds in the place of minutes, behind a line to the
// store that refuses what was signed more than some seconds ago. No program that is
// shipped has them. A store that takes such a request is found out like any other, and
// a sweeper waits for lateAtMost.
const (
	stale       = 10 * time.Second
	lateUsually = 12 * time.Second
)

package s3

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/minio"
)

func TestBucket(t *testing.T) { conforms(t, server, "") }

func TestBucketBelowPrefix(t *testing.T) { conforms(t, server, "some/where") }

func TestBucketOnFourDrives(t *testing.T) { conforms(t, minio.Start(t, 4), "") }

// TestBucketInParts has everything that may go up in parts do so.
func TestBucketInParts(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		loc := location(t, server.Endpoint)
		loc.PartThreshold, loc.PartSize = 1, minPartSize
		return create(t, loc)
	})
}

func conforms(t *testing.T, s minio.Server, prefix string) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		loc := location(t, s.Endpoint)
		loc.Prefix = prefix
		return create(t, loc)
	})
}

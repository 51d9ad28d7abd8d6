//go:build real

package s3

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/minio"
)

// Each subtest has a bucket of its own, on one drive and on four, for itself and
// shared with others.
func TestBucket(t *testing.T) { conforms(t, location(t, server.Endpoint)) }

func TestBucketOnFourDrives(t *testing.T) {
	loc := location(t, minio.Start(t, 4).Endpoint)
	loc.Prefix = "some/where"
	conforms(t, loc)
}

// TestBucketInParts has everything that may go up in parts do so.
func TestBucketInParts(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Prefix = "some/where"
	loc.PartThreshold, loc.PartSize = 1, minPartSize
	conforms(t, loc)
}

func conforms(t *testing.T, loc Location) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		loc.Bucket = location(t, loc.Endpoint).Bucket
		loc.Log = nil
		b := create(t, loc)
		// Objects that others keep beside the tree do not belong to it.
		if loc.Prefix != "" {
			loc := loc
			loc.Prefix = ""
			put(t, connected(t, loc), "nix-cache-info", nil, layout.PutOptions{})
			loc.Prefix = loc.Prefix + "some/where-else"
			put(t, connected(t, loc), "nix-cache-info", nil, layout.PutOptions{})
		}
		return b
	})
}

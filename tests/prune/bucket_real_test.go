//go:build real

// Package prune_test prunes buckets of the real MinIO: while it is killed, while
// requests are lost or late, and while others push.
package prune_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/s3"
	"github.com/nixstatic/nixstatic/tests/minio"
)

// A bucket is one whose requests count as arrived at once, so that a test need not
// wait for an hour.
type bucket struct {
	*s3.Bucket
	late time.Duration // or as arrived after so long
}

func (b bucket) ProveFence(ctx context.Context) (layout.FenceProof, error) {
	proof, err := b.Bucket.ProveFence(ctx)
	proof.Late = b.late
	return proof, err
}

// settled is longer than the fence of such a bucket, and than a lease in it.
const settled = 1500 * time.Millisecond

func start(t *testing.T) minio.Server {
	t.Helper()
	server := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	return server
}

func urlOf(name, endpoint string) string {
	return "s3://" + name + "/some/prefix?endpoint=" + endpoint
}

// open opens a bucket behind an endpoint, which it makes.
func open(t *testing.T, name, endpoint string) bucket {
	t.Helper()
	loc, err := s3.ParseURL(urlOf(name, endpoint))
	if err != nil {
		t.Fatal(err)
	}
	loc.Attempts, loc.RetryDelay = 2, 10*time.Millisecond
	b, err := s3.New(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return bucket{Bucket: b}
}

// populate makes a cache in a new bucket in which lib and source are pinned, and the
// seven others are dead.
func populate(t *testing.T, server minio.Server) (b bucket, name string) {
	t.Helper()
	name = "prune-" + strings.ToLower(rand.Text())
	b = open(t, name, server.Endpoint)
	if _, err := b.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(layout.SweepPlan{Epoch: 1, Nonce: "first", Known: 1, Lease: 1})
	if err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, b, layout.PlanKey, string(text))
	treetest.Populate(t, b)
	lib := treetest.Record(t, b, "lib").Path
	if _, err := gc.Set(t.Context(), b, gc.PinChange{Name: "host", Paths: []layout.StorePath{lib}}); err != nil {
		t.Fatal(err)
	}
	return b, name
}

func options() gc.Options { return gc.Options{MaxRemoval: 1} }

// collect runs gc until it has nothing to do, at most so many times.
func collect(t *testing.T, b bucket, o gc.Options, times int) (runs []gc.Run) {
	t.Helper()
	for range times {
		done, err := gc.Collect(t.Context(), b, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, done)
		time.Sleep(settled)
	}
	return runs
}

// check finds what is wrong in a tree.
func check(t *testing.T, b bucket) {
	t.Helper()
	if err := fsck.Whole(t.Context(), b, fsck.Options{}); err != nil {
		t.Error(err)
	}
}

// names are those of the paths that are there.
func names(t *testing.T, b bucket) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	for n := range treetest.Records(t, b) {
		there[n.Path.Name()] = true
	}
	return there
}

// TestTwoRuns: a bucket is pruned in two runs, and an undo brings back what went.
func TestTwoRuns(t *testing.T) {
	b, _ := populate(t, start(t))
	o := options()
	o.Undo = time.Hour
	done, err := gc.Collect(t.Context(), b, o, nil)
	if err != nil || done.Withdrawn.Count != 0 || done.Condemned < 7 {
		t.Fatalf("the first run: %+v, %v", done, err)
	}
	if done, err := gc.Collect(t.Context(), b, o, nil); err != nil || done.Withdrawn.Count != 0 {
		t.Fatalf("a run before the fence has passed: %+v, %v", done, err)
	}
	time.Sleep(settled)
	if done, err = gc.Collect(t.Context(), b, o, nil); err != nil || done.Withdrawn.Count != 7 {
		t.Fatalf("the second run: %+v, %v", done, err)
	}
	if there := names(t, b); len(there) != 2 || !there["lib"] || !there["source"] {
		t.Errorf("after it: %v", there)
	}
	check(t, b)
	undone, err := gc.Undo(t.Context(), b, 0, nil)
	if err != nil || len(undone.Back) != 7 {
		t.Fatalf("undo: %+v, %v", undone, err)
	}
	check(t, b)
	// Without time for an undo all goes in one round, and nothing is left of it.
	time.Sleep(settled)
	collect(t, b, options(), 3)
	check(t, b)
	for info, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if kind := info.Key.Kind(); kind == layout.KindDebugInfo {
			t.Errorf("%s is left", info.Key)
		}
	}
}

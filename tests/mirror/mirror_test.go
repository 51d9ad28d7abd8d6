//go:build real

package mirror_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestBuckets goes round: directory, bucket, another bucket, directory.
func TestBuckets(t *testing.T) {
	w := newWorld(t)
	oneURL, one := w.bucket(t)
	twoURL, two := w.bucket(t)
	back := treetest.OpenDir(t, filepath.Join(t.TempDir(), "back"))
	w.sync(t, w.dir, oneURL)
	w.sync(t, oneURL, twoURL)
	w.sync(t, "--delete", twoURL, back.Path())
	for _, tree := range []layout.Tree{one, two, back} {
		treetest.Equal(t, treetest.OpenDir(t, w.dir), tree)
		whole(t, tree)
	}
	for _, args := range [][]string{{w.dir, oneURL}, {oneURL, twoURL}, {twoURL, back.Path()}} {
		if r := w.sync(t, args...); !strings.Contains(r.Stderr, ": 0 objects copied") {
			t.Errorf("nothing to do from %s to %s: %s", args[0], args[1], r.Stderr)
		}
	}
	// A page that is not there any more.
	treetest.PutText(t, treetest.OpenDir(t, w.dir), "index.html", "<!doctype html>")
	w.sync(t, w.dir, oneURL)
	if err := treetest.OpenDir(t, w.dir).Delete(t.Context(), "index.html"); err != nil {
		t.Fatal(err)
	}
	w.sync(t, "--delete", w.dir, oneURL)
	treetest.Equal(t, treetest.OpenDir(t, w.dir), one)
	for info, err := range one.List(t.Context(), layout.PrivatePrefix) {
		if info.Key != layout.PlanKey {
			t.Errorf("left behind: %s, %v", info.Key, err)
		}
	}
	if plan, err := layout.ReadSweepPlan(t.Context(), one); err != nil || !plan.Closed {
		t.Errorf("a mirror that removes owns its destination: %+v, %v", plan, err)
	}
}

// TestKilledBucket kills mirrors to a bucket while someone reads it. The next one
// on this machine sees that they are dead, and soon takes over.
func TestKilledBucket(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	w.sync(t, w.dir, url)
	stop := readAllTheWhile(t, bucket)
	killed := 0
	for range 4 {
		for _, source := range []string{w.dir, lessOf(t, w)} {
			r := nixtest.Start(t, w.command(t, "sync", "--delete", "--json", source, url))
			time.Sleep(20*time.Millisecond + rand.N(200*time.Millisecond))
			if !r.Ended() {
				r.Signal(t, syscall.SIGKILL)
			}
			if r.Wait(t).Code != 0 {
				killed++
			}
		}
	}
	t.Logf("%d of 8 runs were killed, %d reads of the whole", killed, stop())
	w.sync(t, "--delete", w.dir, url)
	treetest.Equal(t, treetest.OpenDir(t, w.dir), bucket)
	whole(t, bucket)
}

// lessOf makes a cache with some of the paths of the world's.
func lessOf(t *testing.T, w *world) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "less")
	w.sync(t, w.dir, dir)
	less := treetest.OpenDir(t, dir)
	for _, name := range []string{"-app", "-selfish"} {
		for key, text := range treetest.Contents(t, less) {
			n, err := layout.ParseNarInfo([]byte(text), "")
			if key.Kind() != layout.KindNarInfo || err != nil || !strings.HasSuffix(string(n.Path), name) {
				continue
			}
			for _, gone := range []layout.Key{key, layout.ListingKey(n.Path), layout.Key(n.URL)} {
				if err := less.Delete(t.Context(), gone); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return dir
}

// TestWatch mirrors while another program writes, and ends when it is told to.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	r := nixtest.Start(t, w.command(t, "sync", "--watch", "--delete", "--json", w.dir, url))
	until(t, "the first run", func() bool {
		_, err := bucket.Stat(t.Context(), layout.CacheInfoKey)
		return err == nil
	})
	stop := readAllTheWhile(t, bucket)
	for _, name := range []string{"main_test.go", "mirror_test.go"} {
		w.program.Run(t, "add", "--to", w.dir, name).Want(t, 0)
		until(t, name, func() bool { return same(t, treetest.OpenDir(t, w.dir), bucket) })
	}
	// The last change comes right before the end.
	w.program.Run(t, "add", "--to", w.dir, "--name", "last", ".").Want(t, 0)
	r.Signal(t, syscall.SIGTERM)
	result := r.Wait(t).Want(t, 0)
	stop()
	treetest.Equal(t, treetest.OpenDir(t, w.dir), bucket)
	whole(t, bucket)
	attempts := 0
	for line := range strings.Lines(result.Stdout) {
		var event struct{ Event, Key, Reason string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if event.Event == "attempt" {
			attempts++
		}
	}
	if attempts < 3 {
		t.Errorf("%d attempts:\n%s", attempts, result.Stdout)
	}
}

func same(t *testing.T, a, b layout.Tree) bool {
	return cmp.Equal(treetest.Contents(t, a), treetest.Contents(t, b))
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in two minutes: %s", what)
		}
	}
}

// TestExportFromBucket: a bucket is a source of store paths as any cache is, and
// what Nix keeps in the URL of a store counts when one is written.
func TestExportFromBucket(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	w.sync(t, w.dir, url)
	var roots []string
	for info, err := range bucket.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Key.Kind() == layout.KindNarInfo {
			roots = append(roots, info.Key.PathHash())
		}
	}
	to := filepath.Join(t.TempDir(), "copy")
	args := append([]string{"export", "--from", url, "--no-check-sigs", "--to", "file://" + to + "?compression=none"}, roots...)
	nixtest.Wait(t, w.command(t, args...)).Want(t, 0)
	tree := treetest.OpenDir(t, to)
	whole(t, tree)
	records, bare := 0, 0
	for key := range treetest.Contents(t, tree) {
		switch {
		case key.Kind() == layout.KindNarInfo:
			records++
		case key.Kind() == layout.KindNAR && strings.HasSuffix(string(key), ".nar"):
			bare++
		}
	}
	if records != len(roots) || bare == 0 {
		t.Errorf("%d records of %d, %d NARs without compression", records, len(roots), bare)
	}
}

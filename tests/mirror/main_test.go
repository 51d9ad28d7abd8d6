//go:build real

// Package mirror_test runs nixstatic sync between the places it knows: a
// directory, buckets of the real MinIO, the real nginx with WebDAV, and our own
// server; while it is killed, while someone reads, and while the source changes.
//
// The package of the mirror tests what it does object by object.
package mirror_test

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/s3"
	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// A world is a directory with a cache in it, and a store of objects.
type world struct {
	program nixtest.Program
	store   minio.Server
	dir     string
	home    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{program: nixtest.Program{Nix: peers.Newest(t)}, store: minio.Start(t, 1), dir: filepath.Join(t.TempDir(), "cache"), home: t.TempDir()}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": w.store.AccessKey, "AWS_SECRET_ACCESS_KEY": w.store.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	dir := treetest.OpenDir(t, w.dir)
	treetest.Populate(t, dir)
	return w
}

// bucket makes a bucket and returns its URL and the tree in it.
func (w *world) bucket(t *testing.T) (string, layout.Tree) {
	t.Helper()
	url := "s3://mirror-" + strings.ToLower(rand.Text()) + "/some/prefix?scheme=http&endpoint=" + strings.TrimPrefix(w.store.Endpoint, "http://")
	loc, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s3.New(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return url, b
}

// command is nixstatic with the credentials of the store.
func (w *world) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := w.program.Command(t, args...)
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+w.store.AccessKey, "AWS_SECRET_ACCESS_KEY="+w.store.SecretKey,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "XDG_CACHE_HOME="+w.home, "NETRC="+os.DevNull)
	return cmd
}

func (w *world) sync(t *testing.T, args ...string) nixtest.Result {
	t.Helper()
	return w.run(t, append([]string{"sync"}, args...)...)
}

func (w *world) run(t *testing.T, args ...string) nixtest.Result {
	t.Helper()
	return nixtest.Wait(t, w.command(t, args...)).Want(t, 0)
}

func whole(t *testing.T, tree layout.Tree) {
	t.Helper()
	if err := fsck.Whole(context.Background(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

// readAllTheWhile checks a tree over and over until stop is called, which
// returns how often. Errors of a store that is away are ignored, and a tree
// without nix-cache-info is not a cache yet.
func readAllTheWhile(t *testing.T, tree layout.Tree) (stop func() int) {
	t.Helper()
	ended := make(chan struct{})
	times := 0
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			told := true
			for p, err := range fsck.Check(context.Background(), tree, fsck.Options{}) {
				if err != nil {
					told = false
				} else if !p.Kind.Note() && p.Kind != fsck.NoCacheInfo {
					t.Errorf("a reader met: %s", p)
					return
				}
			}
			if told {
				times++
			}
			select {
			case <-ended:
				return
			default:
			}
		}
	})
	return func() int {
		close(ended)
		reader.Wait()
		return times
	}
}

//go:build real

package s3

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestNixReads: a tree that we write into a bucket is whole, and once it is
// public, Nix takes paths from it by its web address, and by the same s3:// URL
// that we were given. Debian's Nix is built without what signs requests.
func TestNixReads(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Prefix = "the/cache"
	b := connected(t, loc)
	if _, err := b.Prepare(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	app := treetest.Populate(t, b).Named("app").Info.Path
	if err := fsck.Whole(t.Context(), b, fsck.Options{Deep: true}); err != nil {
		t.Error(err)
	}
	public := server.Endpoint + "/" + loc.Bucket + "/" + loc.Prefix
	for _, c := range []struct {
		nix peers.Nix
		url string
	}{
		{peers.Old(t), public},
		{peers.Newest(t), public},
		{peers.Newest(t), b.URL() + "?endpoint=" + server.Endpoint + "&region=us-east-1"},
		{peers.Newest(t), b.URL() + "?endpoint=" + strings.TrimPrefix(server.Endpoint, "http://") + "&scheme=http"},
	} {
		root := peers.StoreRoot(t)
		c.nix.Output(t, "nix", "copy", "--no-check-sigs", "--from", c.url, "--to", root, app.Abs(layout.DefaultStoreDir))
		found, err := filepath.Glob(filepath.Join(root, app.Abs(layout.DefaultStoreDir), "bin", "app"))
		if err != nil || len(found) != 1 {
			t.Errorf("Nix %s did not bring %s from %s", c.nix.Version, app, c.url)
		}
	}
}

// TestNixWrites: what Nix itself puts into a bucket is a tree to us.
func TestNixWrites(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Prefix = "the/cache"
	b := create(t, loc)
	everyoneMay(t, b)
	store := peers.Closure(t)
	path := store.Named(t, "odd?name")
	peers.Newest(t).Output(t, "nix", "copy", "--no-check-sigs", "--store", store.Root,
		"--to", b.URL()+"?endpoint="+server.Endpoint+"&write-nar-listing=true&compression=zstd", path)
	if err := fsck.Whole(t.Context(), b, fsck.Options{Deep: true}); err != nil {
		t.Error(err)
	}
	var kinds []string
	for info, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, info.Key.Kind().String())
	}
	if diff := cmp.Diff([]string{"ls", "narinfo", "nar", "nix-cache-info"}, kinds); diff != "" {
		t.Errorf("kinds of objects (-want +got):\n%s", diff)
	}
}

// TestNixWritesEncoded: what Nix puts into a bucket for Hydra, with headers that
// say how it is compressed, is a tree to us.
func TestNixWritesEncoded(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Prefix = "the/cache"
	b := create(t, loc)
	everyoneMay(t, b)
	store := peers.Closure(t)
	for _, coding := range []string{"gzip", "br", "xz", "zstd"} {
		peers.Newest(t).Output(t, "nix", "copy", "--no-check-sigs", "--store", store.Root, "--to", b.URL()+"?endpoint="+server.Endpoint+
			"&write-nar-listing=true&compression=zstd&narinfo-compression="+coding+"&ls-compression="+coding+"&log-compression="+coding, store.Named(t, "odd?name"))
		encoded := 0
		for info, err := range b.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			o, err := b.stat(t.Context(), info.Key)
			if err != nil {
				t.Fatal(err)
			}
			if o.Metadata.Get("Content-Encoding") == coding {
				encoded++
			}
		}
		if encoded < 2 {
			t.Errorf("%s: Nix encoded %d objects: the test shows nothing", coding, encoded)
		}
		if err := fsck.Whole(t.Context(), b, fsck.Options{Deep: true}); err != nil {
			t.Errorf("%s: %v", coding, err)
		}
		for info := range b.List(t.Context(), "") {
			if err := b.Delete(t.Context(), info.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

//go:build real

package export

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// nixPaths are store paths of every kind that tests can afford to have
// compressed by xz, a few times over. No derivation: Nix 2.8 would build it.
func nixPaths(t *testing.T, store peers.Store) (list []string) {
	for _, name := range []string{"builder.sh", "hello-2.10-debug", "odd?name=1+2", "tree", "flat", "libgcc-s1-"} {
		list = append(list, store.Named(t, name))
	}
	return list
}

// TestCacheFromNix reads what every Nix writes with nix copy, in every
// compression, from the directory and through the real nginx.
func TestCacheFromNix(t *testing.T) {
	store := peers.Closure(t)
	roots := nixPaths(t, store)
	truth := storeTruth(t, store, roots)
	for _, nix := range peers.Nixes(t) {
		for _, method := range []string{"xz", "zstd", "bzip2", "gzip", "br", "none"} {
			t.Run(nix.Version+"/"+method, func(t *testing.T) {
				dir := t.TempDir()
				args := append([]string{"copy", "--store", store.Root, "--to", "file://" + dir + "?compression=" + method}, roots...)
				nix.Output(t, "nix", args...)
				checkNixCache(t, dir, truth)
				if method == "zstd" || method == "xz" {
					web := startNginx(t, dir)
					checkNixCache(t, web.URL, truth)
					checkNixCache(t, webtest.WithUser(t, web.URL, "me", "s3cret")+"/private", truth)
					_, err := openAt(t, web.URL+"/private", httpcache.Options{})
					webtest.WantError(t, err, "401 Unauthorized (neither")
				}
			})
		}
	}
}

// A storedPath is what Nix says of a path in its store.
type storedPath struct {
	path       string
	references []string
	nar        []byte
}

func storeTruth(t *testing.T, store peers.Store, roots []string) (truth []storedPath) {
	t.Helper()
	nix := peers.Old(t)
	for _, root := range roots {
		refs := strings.Fields(nix.Output(t, "nix-store", "--store", store.Root, "--query", "--references", root))
		slices.Sort(refs)
		dump, err := nix.Command(t, "nix-store", "--dump", store.Root+root).Output()
		if err != nil {
			t.Fatal(err)
		}
		truth = append(truth, storedPath{root, refs, dump})
	}
	return truth
}

// checkNixCache compares the cache at location with the store it was made of.
func checkNixCache(t *testing.T, location string, truth []storedPath) {
	t.Helper()
	c, err := openAt(t, location, httpcache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var asked []layout.StorePath
	for i, want := range truth {
		// A path, a path inside it, a base name, a hash: all the same.
		base := filepath.Base(want.path)
		p, err := c.Resolve(t.Context(), []string{want.path, want.path + "/bin/x", base, base[:32]}[i%4])
		if err != nil || string(p) != base {
			t.Fatalf("resolve %s: %s, %v", want.path, p, err)
		}
		asked = append(asked, p)
	}
	infos, err := c.Infos(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range truth {
		var refs []string
		for _, ref := range infos[i].References {
			refs = append(refs, ref.Abs(c.StoreDir()))
		}
		if !slices.Equal(refs, want.references) {
			t.Errorf("%s: references %q, want %q", want.path, refs, want.references)
		}
		if got, err := writeNAR(c, asked[i]); err != nil || !bytes.Equal(got, want.nar) {
			t.Errorf("%s: NAR of %d bytes, want %d, %v", want.path, len(got), len(want.nar), err)
		}
	}
	if _, err := c.Infos(t.Context(), []layout.StorePath{"00000000000000000000000000000000-x"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent path: %v", err)
	}
}

// TestImportFromNix takes the closure of a cache that Nix wrote into a tree of
// ours, over HTTP, and has another Nix read that tree.
func TestImportFromNix(t *testing.T) {
	store := peers.Closure(t)
	old, newest := peers.Old(t), peers.Newest(t)
	roots := append(nixPaths(t, store), store.Named(t, "zlib1g-")) // with libc6: some MB
	dir := t.TempDir()
	old.Output(t, "nix", append([]string{"copy", "--store", store.Root, "--to", "file://" + dir + "?compression=zstd"}, roots...)...)

	c, err := openAt(t, startNginx(t, dir).URL, httpcache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	tree, err := layout.OpenDir(out)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if _, err := layout.Init(t.Context(), tree, c.CacheInfo()); err != nil {
		t.Fatal(err)
	}
	pool := compress.NewPool(2)
	defer pool.Close()
	im := &Run{Source: c, Trust: signer.Trust{All: true}, Writer: &layout.Writer{Tree: tree, StoreDir: c.StoreDir(), Pool: pool}}
	var asked []layout.StorePath
	for _, root := range roots {
		p, err := c.Resolve(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		asked = append(asked, p)
	}
	plan, err := im.Plan(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Do(t.Context(), plan); err != nil {
		t.Fatal(err)
	}

	root := peers.StoreRoot(t)
	newest.Output(t, "nix", append([]string{"copy", "--no-check-sigs", "--from", "file://" + out, "--to", root}, roots...)...)
	newest.Output(t, "nix-store", "--store", root, "--verify", "--check-contents")
	for _, p := range roots {
		want := newest.Output(t, "nix-store", "--store", store.Root, "--query", "--hash", p)
		if got := newest.Output(t, "nix-store", "--store", root, "--query", "--hash", p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}

// startNginx serves dir at / for all, and below /private/ for me alone.
func startNginx(t *testing.T, dir string) *nixtest.Nginx {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	// {PLAIN} says that the password follows as it is.
	if err := os.WriteFile(users, []byte("me:{PLAIN}s3cret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf(`default_type application/octet-stream;
log_not_found off;
server {
	listen %s;
	location / { root %[2]s; }
	location /private/ { auth_basic cache; auth_basic_user_file %s; alias %[2]s/; }
}`, address, dir, users)
	})
}

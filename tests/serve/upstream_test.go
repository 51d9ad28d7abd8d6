//go:build real

package serve_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// An upstream is a signed cache of some paths behind a web server, which may be
// out of order.
type upstream struct {
	URL  string
	Key  nixtest.Key
	Down atomic.Bool
}

func startUpstream(t testing.TB, paths ...string) *upstream {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "upstream")
	u := &upstream{Key: newest(t).NewKey(t, "upstream-1")}
	newest(t).Output(t, append([]string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to", dir, "-k", u.Key.File, "-c", "none"}, paths...)...)
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.Down.Load() {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u.URL = server.URL
	return u
}

// A path that an upstream has is neither sent nor stored, and may be referred to;
// a record in the tree says that the upstream has it, and verify reads that.
// Together the two caches have all that a client needs.
func TestUpstream(t *testing.T) {
	base := named(t, "gcc-12-base-", "libnettle8-", "libtasn1-6-")
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			up := startUpstream(t, base...)
			s := start(t, "--upstream", up.URL, "--upstream-key", up.Key.Public)
			roots := append(named(t, "libgnutls30-"), somePaths(t)...)
			push(t, fresh(t, nix), s.upload("compression=none"), roots...)
			for _, path := range base {
				if _, err := os.Stat(filepath.Join(s.Tree, hashPart(path)+".narinfo")); !os.IsNotExist(err) {
					t.Errorf("%s was sent: %v", path, err)
				}
			}
			verify(t, s.Tree, s.Key.Public)
			var result struct{ Upstreams []string }
			if err := json.Unmarshal([]byte(newest(t).Output(t, "verify", "--json", s.Tree)), &result); err != nil {
				t.Fatal(err)
			}
			if len(result.Upstreams) != 1 || result.Upstreams[0] != up.URL {
				t.Errorf("verify tells of the upstreams %v", result.Upstreams)
			}
			// Readers hear of what this tree has alone.
			if status, _ := get(t, s.URL+"/"+hashPart(base[0])+".narinfo"); status != 404 {
				t.Errorf("a path of the upstream at the readers' URL: status %d", status)
			}
			root := peers.StoreRoot(t)
			fresh(t, nix).Output(t, "nix-store", append([]string{"--store", root, "--realise",
				"--option", "substituters", s.URL + " " + up.URL,
				"--option", "trusted-public-keys", s.Key.Public + " " + up.Key.Public}, roots...)...)

			// A record that is gone, or that was changed, proves nothing.
			records, err := filepath.Glob(filepath.Join(s.Tree, ".nixstatic", "upstream", "*.narinfo"))
			if err != nil || len(records) == 0 {
				t.Fatalf("the tree has no record of the upstream's: %v", err)
			}
			text := readFile(t, records[0])
			if err := os.WriteFile(records[0], []byte(strings.Replace(text, "NarSize: ", "NarSize: 1", 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			if r := newest(t).Run(t, "verify", s.Tree).Want(t, 3); !strings.Contains(r.Stdout, "missing-reference") {
				t.Errorf("verify of a tree whose proof is damaged:\n%s", r.Stdout)
			}
		})
	}
}

// An upstream that is down stops no client: paths that it may have are sent.
func TestUpstreamDown(t *testing.T) {
	base := named(t, "gcc-12-base-")
	up := startUpstream(t, base...)
	s := start(t, "--upstream", up.URL, "--upstream-key", up.Key.Public)
	up.Down.Store(true)
	push(t, peers.Newest(t), s.upload("compression=none"), somePaths(t)...)
	if _, err := os.Stat(filepath.Join(s.Tree, hashPart(base[0])+".narinfo")); err != nil {
		t.Error(err)
	}
	verify(t, s.Tree, s.Key.Public)
}

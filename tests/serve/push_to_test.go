//go:build real

package serve_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The command pushes to any cache: a directory, a bucket, and a web server that takes
// PUT and knows nothing of Nix. Every Nix takes all of it back with signatures
// required, and what is there is not sent again.
func TestPushAnywhere(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", "--public", bucket)
	dir, files := filepath.Join(t.TempDir(), "cache"), t.TempDir()
	nginx := nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf("error_log stderr crit; server { listen %s; root %q; client_max_body_size 0; dav_methods PUT; create_full_put_path on; }", address, files)
	})
	for _, test := range []struct{ to, from, tree string }{
		{dir, "file://" + dir, dir},
		{bucket, store.web(bucket), bucket},
		{nginx.URL, nginx.URL, files},
	} {
		key := newest(t).NewKey(t, "push-1")
		push := func(args ...string) (result struct{ Paths, Written, Present int }) {
			t.Helper()
			text := newest(t).Output(t, append([]string{"push", "--json", "--store", peers.Closure(t).Root, "-k", key.File, test.to}, args...)...)
			if err := json.Unmarshal([]byte(text), &result); err != nil {
				t.Fatal(err)
			}
			return result
		}
		all := somePaths(t)
		if r := push("-n", all[0]); r.Written != 0 || r.Paths == 0 {
			t.Errorf("dry, to %s: %+v", test.to, r)
		}
		first := push(all[0])
		if first.Written == 0 || first.Written != first.Paths {
			t.Errorf("to %s: %+v", test.to, first)
		}
		rest := push(all...)
		if rest.Present < first.Written || rest.Written+rest.Present != rest.Paths {
			t.Errorf("the rest, to %s: %+v after %+v", test.to, rest, first)
		}
		if again := push(all...); again.Written != 0 || again.Present != rest.Paths {
			t.Errorf("again, to %s: %+v", test.to, again)
		}
		verify(t, test.tree, key.Public)
		for _, nix := range peers.Nixes(t) {
			pull(t, fresh(t, nix), test.from, key.Public, all...)
		}
	}
}

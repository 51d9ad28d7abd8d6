//go:build real

package corpus

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestAdopt: what other caches write becomes a tree that verify accepts, and every Nix
// reads it before and after, by the URLs that it may remember from before too.
func TestAdopt(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	paths := build(t, tree)
	all := names(paths, every)
	program := nixtest.Program{Nix: peers.Newest(t)}
	web := nixtest.ServeNginx(t, tree)
	old := map[string]string{}
	for _, p := range paths {
		old[p.base()] = "nar/" + p.file(p)
	}
	key := program.NewKey(t, "adopted-1")
	var out struct {
		Version                                            int
		Paths, Listings, Records, Moved, Signed, Unchanged int
		Quarantined, Unknown                               []any
	}
	if err := json.Unmarshal([]byte(program.Run(t, "adopt", "--json", "-n", "-k", key.File, tree).Want(t, 0).Stdout), &out); err != nil {
		t.Fatal(err)
	}
	dry := out
	if err := json.Unmarshal([]byte(program.Run(t, "adopt", "--json", "-k", key.File, tree).Want(t, 0).Stdout), &out); err != nil {
		t.Fatal(err)
	}
	if out.Version != 1 || out.Paths != len(paths) || out.Listings != len(paths) || out.Signed != len(paths) || out.Moved < 30 || len(out.Quarantined)+len(out.Unknown) > 0 {
		t.Errorf("%+v", out)
	}
	if dry.Paths != out.Paths || dry.Moved != out.Moved || dry.Records != out.Records || dry.Listings != out.Listings {
		t.Errorf("a dry run told %+v, and %+v was done", dry, out)
	}
	program.Run(t, "verify", "--deep", "--trusted-public-key", key.Public, tree).Want(t, 0)
	for _, nix := range peers.Nixes(t) {
		copied(t, nix, "file://"+tree, all)
		copied(t, nix, web.URL, all)
	}
	for name, file := range old {
		if files, err := filepath.Glob(filepath.Join(tree, strings.NewReplacer("[", "\\[").Replace(file))); err != nil || len(files) != 1 {
			t.Errorf("%s: a client that remembers %s finds %q, %v", name, file, files, err)
		}
	}
	if err := json.Unmarshal([]byte(program.Run(t, "adopt", "--json", "-k", key.File, tree).Want(t, 0).Stdout), &out); err != nil {
		t.Fatal(err)
	}
	if out.Unchanged != len(paths) || out.Listings+out.Records+out.Moved+out.Signed > 0 {
		t.Errorf("a second run: %+v", out)
	}
}

// TestAdoptBucket does the same in a bucket, and compresses all anew on the way.
func TestAdoptBucket(t *testing.T) {
	base := t.TempDir()
	tree := filepath.Join(base, "tree")
	paths := build(t, tree)
	all := names(paths, every)
	program := nixtest.Program{Nix: peers.Newest(t)}
	store := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.AccessKey, "AWS_SECRET_ACCESS_KEY": store.SecretKey,
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} {
		t.Setenv(name, value)
	}
	bucket := "s3://adopted?endpoint=" + store.Endpoint
	program.Run(t, "init", bucket).Want(t, 0)
	program.Run(t, "sync", tree, bucket).Want(t, 0)
	program.Run(t, "adopt", bucket).Want(t, 0)
	program.Run(t, "verify", "--deep", bucket).Want(t, 0)
	program.Run(t, "adopt", "--recompress", "zstd:1", bucket).Want(t, 0)
	r := program.Run(t, "verify", "--deep", bucket).Want(t, 0)
	served := serve(t, program, bucket)
	copied(t, peers.Old(t), served, all)
	copied(t, peers.Newest(t), served, all)
	if strings.Contains(r.Stdout, "no-file-hash") {
		t.Errorf("records lack a FileHash:\n%s", r.Stdout)
	}
	out := program.Run(t, "adopt", "--recompress", "zstd:1", "--json", bucket).Want(t, 0)
	if !strings.Contains(out.Stdout, `"recompressed": 0`) {
		t.Errorf("a second run compresses again:\n%s", out.Stdout)
	}
}

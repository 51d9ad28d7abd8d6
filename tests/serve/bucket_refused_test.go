//go:build real

package serve_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The server tells at its start what cannot work, and what to do.
func TestBucketRefused(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--min-free", "1GiB"}, 2, "--min-free is about the disk that a directory is on"},
		{[]string{"--redirect", "somewhere"}, 2, "want presigned, or the URL"},
		{[]string{"--redirect", "https://user@cdn.example.org"}, 2, "want presigned, or the URL"},
		{[]string{"--redirect", "presigned", "--upload-prefix", "/"}, 2, "exclude each other"},
		{[]string{"--redirect", "https://cdn.example.org", "--private", "--tokens", filepath.Join(t.TempDir(), "tokens")}, 2, "choose presigned"},
	} {
		args := append([]string{"serve", "--listen", "127.0.0.1:0", bucket}, c.args...)
		if r := newest(t).Run(t, args...).Want(t, c.code); !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%v:\n%s", c.args, r.Stderr)
		}
	}
	r := newest(t).Run(t, "serve", "--redirect", "presigned", t.TempDir()).Want(t, 2)
	if !strings.Contains(r.Stderr, "needs a cache in a bucket") {
		t.Errorf("--redirect of a directory:\n%s", r.Stderr)
	}
	cmd := newest(t).Command(t, "serve", "--listen", "127.0.0.1:0", bucket)
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(t.TempDir(), "none"))
	if r := nixtest.Wait(t, cmd).Want(t, 1); !strings.Contains(r.Stderr, "hint: uploads are checked in a folder for temporary files") {
		t.Errorf("without a folder for uploads:\n%s", r.Stderr)
	}
	cmd = newest(t).Command(t, "serve", "--listen", "127.0.0.1:0", bucket)
	cmd.Env = append(cmd.Env, "AWS_SECRET_ACCESS_KEY=wrong-but-long-enough")
	if r := nixtest.Wait(t, cmd).Want(t, 1); !strings.Contains(r.Stderr, "hint: ") || strings.Contains(r.Stderr, "who owns the file") {
		t.Errorf("with a wrong secret:\n%s", r.Stderr)
	}
}

// A single process may write to a store that keeps to no conditions, and the operator
// has to say that there is no other.
func TestBucketWithoutConditions(t *testing.T) {
	store := startStore(t)
	store.Deaf.Store(true)
	bucket := store.bucket()
	r := newest(t).Run(t, "init", "--public", bucket).Want(t, 0)
	if !strings.Contains(r.Stderr, "nothing else may write to this cache") || !strings.Contains(r.Stderr, "one-writer=true") {
		t.Errorf("init:\n%s", r.Stderr)
	}
	path := named(t, "flat")[0]
	export := []string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to"}
	r = newest(t).Run(t, append(export, bucket, path)...).Want(t, 0)
	if !strings.Contains(r.Stderr, "warning: the store does not support conditional writes") {
		t.Errorf("export:\n%s", r.Stderr)
	}
	r = newest(t).Run(t, append(export, bucket, path)...).Want(t, 0)
	if r.Stderr != "" {
		t.Errorf("export that has nothing to do:\n%s", r.Stderr)
	}
	r = newest(t).Run(t, "serve", bucket).Want(t, 1)
	if want := "'" + bucket + "&one-writer=true'"; !strings.Contains(r.Stderr, "hint: if this server is the only one") || !strings.Contains(r.Stderr, want) {
		t.Errorf("serve:\n%s", r.Stderr)
	}
	// A server that writes nothing need not care.
	reader := &server{}
	reader.runAs(t, "serve", bucket, "--read-only", "--listen", "127.0.0.1:0")
	if status, _ := get(t, reader.URL+"/nix-cache-info"); status != 200 {
		t.Errorf("read-only: status %d", status)
	}
	s := startOn(t, bucket+"&one-writer=true", nil)
	if !strings.Contains(s.log.String(), "nothing else may write to this cache") {
		t.Errorf("no warning:\n%s", s.log)
	}
	for _, nix := range peers.Nixes(t) {
		push(t, fresh(t, nix), s.upload("compression=none"), somePaths(t)...)
	}
	r = newest(t).Run(t, "sign", bucket, "-k", s.Key.File).Want(t, 0)
	pull(t, fresh(t, peers.Newest(t)), s.URL, s.Key.Public, append(somePaths(t), path)...)
	verify(t, bucket, s.Key.Public)
}

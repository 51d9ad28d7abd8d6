//go:build real

package through_test

import (
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Two servers fill one bucket at the same time, for clients that ask for the same. A
// record that one gave is as good at the other.
func TestBucketTogether(t *testing.T) {
	store := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.AccessKey, "AWS_SECRET_ACCESS_KEY": store.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	up := startUpstream(t, "up-1", some(t)...)
	bucket := "s3://through-" + strings.ToLower(rand.Text()) + "/cache?endpoint=" + store.Endpoint
	ours(t).Output(t, "init", bucket)
	first := &server{Tree: bucket, Key: ours(t).NewKey(t, "through.example.org-1"),
		args: []string{"--pull-through", up.URL, "--pull-through-key", up.Key.Public}}
	first.run(t)
	second := &server{Tree: bucket, Key: first.Key, args: first.args}
	second.run(t)
	path := named(t, "libgcc-s1-")[0]
	url := strings.Replace(urlOf(t, first.URL, path), first.URL, second.URL, 1)
	if status, _, err := get(t, url); status != 200 || err != nil {
		t.Errorf("by the record of the other server: %d, %v", status, err)
	}
	var clients sync.WaitGroup
	for i, nix := range peers.Nixes(t) {
		s := []*server{first, second, first}[i]
		clients.Go(func() { pull(t, fresh(t, nix), s.URL, s.Key.Public, some(t)...) })
	}
	clients.Wait()
	first.stop(t)
	second.stop(t)
	verify(t, bucket, first.Key.Public)
	third := &server{Tree: bucket, Key: first.Key}
	third.run(t)
	pull(t, fresh(t, peers.Newest(t)), third.URL, first.Key.Public, some(t)...)
}

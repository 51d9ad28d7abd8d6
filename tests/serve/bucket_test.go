//go:build real

package serve_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A bucket is served as a directory is: every Nix pushes into it, and takes all
// of it back from the server, and from the bucket itself where that is public.
func TestBucket(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	r := newest(t).Run(t, "serve", bucket).Want(t, 1)
	if !strings.Contains(r.Stderr, "nixstatic: hint: nixstatic init '"+bucket+"' makes it") {
		t.Errorf("serve of a bucket that there is not:\n%s", r.Stderr)
	}
	newest(t).Output(t, "init", "--public", bucket)
	s := startOn(t, bucket, nil)
	for i, nix := range peers.Nixes(t) {
		roots := somePaths(t)[:2+i]
		push(t, fresh(t, nix), s.upload("compression="+[]string{"none", "zstd", "xz"}[i]+"&write-nar-listing=true"), roots...)
		pull(t, fresh(t, nix), s.URL, s.Key.Public, roots...)
		pull(t, fresh(t, nix), store.web(bucket), s.Key.Public, roots...)
	}
	push(t, fresh(t, peers.Old(t)), s.upload(), somePaths(t)...)
	pull(t, fresh(t, peers.Newest(t)), bucket+"&region=us-east-1", s.Key.Public, somePaths(t)...)
	verify(t, bucket, s.Key.Public)

	_, text := get(t, s.URL+"/"+hashPart(somePaths(t)[0])+".narinfo")
	nar := lines(text, "URL")[0]
	response, whole := do(t, http.DefaultTransport, "GET", s.URL+"/"+nar, nil)
	etag := response.Header.Get("ETag")
	if response.StatusCode != 200 || response.ContentLength != int64(len(whole)) || etag == "" ||
		response.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("a NAR: %s %v", response.Status, response.Header)
	}
	for _, c := range []struct {
		name, value string
		status      int
		want        string
	}{
		{"Range", "bytes=100-199", 206, whole[100:200]}, {"Range", "bytes=-5", 206, whole[len(whole)-5:]},
		{"If-None-Match", etag, 304, ""}, {"If-None-Match", `"other"`, 200, whole},
	} {
		if status, body := get(t, s.URL+"/"+nar, c.name, c.value); status != c.status || body != c.want {
			t.Errorf("%s: %s: status %d, %d bytes", c.name, c.value, status, len(body))
		}
	}
	if response, _ := do(t, http.DefaultTransport, "HEAD", s.URL+"/"+nar, nil); response.StatusCode != 200 || response.ContentLength != int64(len(whole)) {
		t.Errorf("HEAD of a NAR: %s, %d bytes", response.Status, response.ContentLength)
	}
	if status, _ := get(t, s.URL+"/"+strings.Repeat("0", 32)+".narinfo"); status != 404 {
		t.Errorf("an absent narinfo: status %d", status)
	}
	if status, body := get(t, s.Metrics+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("health: %d %s", status, body)
	}
	until(t, "the bucket is counted", func() bool { return s.metric(t, "nixstatic_tree_paths")[0] == "nixstatic_tree_paths 6" })

	// "Absent" and "could not tell" are different answers.
	store.Down.Store(true)
	for _, path := range []string{"/" + strings.Repeat("0", 32) + ".narinfo", "/" + nar} {
		response, _ := do(t, http.DefaultTransport, "GET", s.URL+path, nil)
		if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s while the store is out of order: %s", path, response.Status)
		}
	}
	if status, _ := get(t, s.Metrics+"/healthz"); status != 503 {
		t.Errorf("health while the store is out of order: %d", status)
	}
	store.Down.Store(false)
	if status, _ := get(t, s.URL+"/"+nar); status != 200 {
		t.Errorf("when the store is back: %d", status)
	}
	s.allowErrors(t, "request failed")
}

// The requests to the store that each request of a client costs:
// docs/serving-buckets.md does the arithmetic. A page costs requests at times of its own.
func TestBucketCosts(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", "--no-page", bucket)
	s := startOn(t, bucket, nil)
	until(t, "the bucket is counted", func() bool {
		return s.metric(t, "nixstatic_tree_counted_timestamp_seconds")[0] != "nixstatic_tree_counted_timestamp_seconds 0"
	})
	tree := exportedTree(t, s.Key)
	narinfo := hashPart(named(t, "flat")[0]) + ".narinfo"
	record := readFile(t, tree, narinfo)
	nar := lines(record, "URL")[0]
	store.cost()
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", narinfo, "", "1 GET"}, // 404
		{"GET", "upload/" + narinfo, "", "1 GET"},
		{"HEAD", "upload/" + nar, "", "1 HEAD"},
		{"PUT", "upload/" + nar, readFile(t, tree, nar), "2 HEAD, 1 PUT"},
		{"PUT", "upload/" + narinfo, record, "1 GET, 1 HEAD, 2 PUT"},
		{"HEAD", "upload/" + narinfo, "", "1 GET, 1 HEAD"}, // does it lead to a NAR?
		{"GET", narinfo, "", "1 GET"},
		{"GET", narinfo, "", "1 HEAD"}, // remembered, if it is still the same
		{"HEAD", nar, "", "1 HEAD"},
		{"GET", nar, "", "1 GET"},
	} {
		response, body := do(t, http.DefaultTransport, c.method, s.URL+"/"+c.path, strings.NewReader(c.body),
			"Authorization", "Bearer "+s.Token, "User-Agent", "curl/8.14.1 Nix/2.26.3")
		if got := store.cost(); got != c.want {
			t.Errorf("%s %s (%s %s): %s, want %s", c.method, c.path, response.Status, body[:min(len(body), 30)], got, c.want)
		}
	}
	get(t, s.Metrics+"/healthz")
	if got := store.cost(); got != "1 GET" {
		t.Errorf("a look at the health: %s", got)
	}
}

//go:build real

package mirror_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A counter stands before a server and counts what it is asked for.
type counter struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int // method, and "list" for a listing
}

func countRequests(t *testing.T, target string) *counter {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{asked: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(u)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.Method
		if r.URL.Query().Has("list-type") || r.URL.Query().Has("delimiter") || r.URL.Query().Has("max-keys") {
			what = "list"
		}
		c.mu.Lock()
		c.asked[what]++
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// forget leaves one kind of requests out of what take returns.
func (c *counter) forget(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, what)
}

// take returns what was asked since the last call.
func (c *counter) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var counts []string
	for what, n := range c.asked {
		counts = append(counts, fmt.Sprintf("%d %s", n, what))
	}
	clear(c.asked)
	slices.Sort(counts)
	return strings.Join(counts, ", ")
}

// TestRequests: what a run costs where requests cost money. Opening a bucket
// lists one object, a look lists the top, the NARs and the logs, and a source is
// asked what it leans on.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	c := countRequests(t, w.store.Endpoint)
	bucketURL, bucket := w.bucket(t)
	bucketURL = strings.Replace(bucketURL, strings.TrimPrefix(w.store.Endpoint, "http://"), strings.TrimPrefix(c.URL, "http://"), 1)
	otherURL, _ := w.bucket(t)
	otherURL = strings.Replace(otherURL, strings.TrimPrefix(w.store.Endpoint, "http://"), strings.TrimPrefix(c.URL, "http://"), 1)
	w.sync(t, w.dir, bucketURL)
	w.sync(t, bucketURL, otherURL)
	c.take()
	check := func(what, want string, args ...string) {
		t.Helper()
		w.sync(t, args...)
		if got := c.take(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("nothing to do", "4 list", w.dir, bucketURL)
	check("nothing to do, between buckets", "9 list", "--delete", bucketURL, otherURL)
	w.home = t.TempDir()
	check("nothing to do, and the memory is lost", "4 list", "--delete", w.dir, bucketURL)
	treetest.PutText(t, treetest.OpenDir(t, w.dir), "index.html", "<!doctype html>")
	// The lock is put, tried twice, read twice and deleted; the plan of a sweep is
	// looked for, which a bucket that is pruned has; a page is put. How many
	// lists are begun before the first difference shows is not determined.
	w.sync(t, w.dir, bucketURL)
	c.forget("list")
	if got, want := c.take(), "1 DELETE, 4 GET, 4 PUT"; got != want {
		t.Errorf("a page: %s, want %s", got, want)
	}
	if diff := cmp.Diff(treetest.Contents(t, treetest.OpenDir(t, w.dir)), treetest.Contents(t, bucket)); diff != "" {
		t.Error(diff)
	}
	back := filepath.Join(t.TempDir(), "back")
	w.sync(t, bucketURL, back)
	c.take()
	check("nothing to do, from a bucket", "5 list", bucketURL, back)
}

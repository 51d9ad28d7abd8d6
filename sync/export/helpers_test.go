package export

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// openHTTP opens a cache that waits for next to nothing between attempts.
func openHTTP(t *testing.T, url string, o httpcache.Options) *httpcache.Reader {
	t.Helper()
	if o.Netrc == "" {
		o.Netrc = os.DevNull
	}
	o.RetryDelay = time.Millisecond
	h, err := httpcache.Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// openAt makes a source of the cache at a URL or in a directory.
func openAt(t *testing.T, location string, o httpcache.Options) (*Cache, error) {
	t.Helper()
	if strings.HasPrefix(location, "http") {
		o.Netrc = webtest.NoCredentials(t)
		h, err := httpcache.Open(location, o)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { h.Close() })
		return NewCache(t.Context(), h, CacheOptions{})
	}
	d, err := layout.OpenDir(strings.TrimPrefix(location, "file://"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { d.Close() })
	return NewCache(t.Context(), d, CacheOptions{})
}

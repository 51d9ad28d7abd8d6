package export

import (
	"os"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/sync/httpcache"
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

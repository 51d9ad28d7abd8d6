//go:build real

package mirror_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout/treetest"
)

// refuser stands before the store and refuses requests with some of the headers.
func refuser(t *testing.T, w *world, status int, code string, headers ...string) *httptest.Server {
	t.Helper()
	target, err := url.Parse(w.store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range headers {
			if r.Header.Get(name) != "" {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>A header you provided is not known here.</Message></Error>", code)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestPoorStores: a store that refuses conditions, checksums or both takes a
// mirror and an export, and is said to want one writer if it does.
func TestPoorStores(t *testing.T) {
	w := newWorld(t)
	src := treetest.OpenDir(t, w.dir)
	top := treetest.Record(t, src, "app").Path
	conditions, checksums := []string{"If-None-Match", "If-Match"}, []string{"X-Amz-Checksum-Sha256", "X-Amz-Checksum-Algorithm"}
	for name, c := range map[string]struct {
		status  int
		code    string
		headers []string
		warns   bool
	}{
		"conditions, as Alibaba": {501, "NotImplemented", conditions, true},
		"conditions":             {400, "InvalidArgument", conditions, true},
		"checksums, as B2":       {400, "InvalidArgument", checksums, false},
		"checksums, as R2 did":   {501, "NotImplemented", checksums, false},
		"both":                   {501, "NotImplemented", append(conditions, checksums...), true},
	} {
		t.Run(name, func(t *testing.T) {
			store := refuser(t, w, c.status, c.code, c.headers...)
			through := func(url string) string { return strings.Replace(url, w.store.Endpoint[7:], store.URL[7:], 1) }
			bucketURL, bucket := w.bucket(t)
			r := w.sync(t, w.dir, through(bucketURL))
			if said := strings.Contains(r.Stderr, "nobody else writes"); said != c.warns {
				t.Errorf("said that nobody else may write: %t\n%s", said, r.Stderr)
			}
			treetest.Equal(t, src, bucket)
			whole(t, bucket)
			treetest.PutText(t, src, "index.html", "changed for "+name)
			w.sync(t, "--delete", w.dir, through(bucketURL))
			treetest.Equal(t, src, bucket)

			exportURL, exported := w.bucket(t)
			r = w.run(t, "export", "--from", w.dir, "--no-check-sigs", "--to", through(exportURL), string(top))
			if said := strings.Contains(r.Stderr, "nothing else may write"); said != c.warns {
				t.Errorf("export said that nothing else may write: %t\n%s", said, r.Stderr)
			}
			whole(t, exported)
		})
	}
}

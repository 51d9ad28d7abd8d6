//go:build real

package through_test

import (
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Two servers fill their trees from each other, and the second from an upstream as well.
// Neither waits for its own question, and clients of both get what the upstream has.
func TestEachOther(t *testing.T) {
	up := startUpstream(t, "up-1", some(t)...)
	key := ours(t).NewKey(t, "through.example.org-1")
	// The second is reached by a proxy, as it has no address yet when the first starts.
	var second *url.URL
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(second) }})
	defer proxy.Close()
	begin := func(args ...string) *server {
		s := &server{Tree: filepath.Join(t.TempDir(), "cache"), Key: key, args: args}
		ours(t).Output(t, "init", "--no-page", s.Tree)
		s.run(t)
		return s
	}
	one := begin("--pull-through", proxy.URL, "--pull-through-key", key.Public)
	two := begin("--pull-through", one.URL, "--pull-through-key", key.Public, "--pull-through", up.URL, "--pull-through-key", up.Key.Public)
	var err error
	if second, err = url.Parse(two.URL); err != nil {
		t.Fatal(err)
	}
	servers := []*server{one, two}
	for i, s := range servers {
		for n := range 5 {
			made := strings.Repeat(fmt.Sprint(i), 31) + fmt.Sprint(n)
			if status, text, _ := get(t, s.URL+"/"+made+".narinfo"); status != 404 {
				t.Errorf("what no cache has: %d %s", status, text)
			}
		}
	}
	for _, s := range servers {
		pull(t, fresh(t, peers.Newest(t)), s.URL, key.Public, some(t)...)
		if strings.Contains(s.log.String(), "left alone") {
			t.Errorf("the log tells of trouble:\n%s", s.log)
		}
	}
	for _, s := range servers {
		s.stop(t)
		verify(t, s.Tree, key.Public)
	}
}

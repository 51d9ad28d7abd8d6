//go:build real

package serve_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
)

// A store is a real MinIO, and what stands before it: it counts, and may be out
// of order.
type store struct {
	minio.Server
	front *httptest.Server

	Down atomic.Bool  // every request is answered 500
	Deaf atomic.Bool  // conditions are refused
	nars atomic.Int64 // that clients asked for

	mu    sync.Mutex
	asked map[string]int // by servers: methods, "LIST" for a listing
}

// startStore starts one until the test ends. The programs of the tests find its
// credentials in their environment.
func startStore(t testing.TB) *store {
	t.Helper()
	s := &store{Server: minio.Start(t, 1), asked: map[string]int{}}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.Down.Load():
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		case s.Deaf.Load() && r.Header.Get("If-Match")+r.Header.Get("If-None-Match") != "":
			http.Error(w, "no conditions here", http.StatusNotImplemented)
			return
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/nar/") && !strings.Contains(r.UserAgent(), "MinIO"):
			s.nars.Add(1) // by a client, not by a server of ours
		}
		what := r.Method
		if r.URL.Query().Has("list-type") {
			what = "LIST"
		}
		s.mu.Lock()
		s.asked[what]++
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.front.Close)
	return s
}

// cost returns what the store was asked for since the last call, but for
// listings, which servers make by the clock.
func (s *store) cost() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		if n := s.asked[method]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", method))
		}
	}
	clear(s.asked)
	return strings.Join(parts, ", ")
}

// bucket names a bucket that is not there yet.
func (s *store) bucket() string {
	return "s3://serve-" + strings.ToLower(rand.Text()) + "/the/cache?endpoint=" + s.front.URL
}

// web is where a public bucket is read.
func (s *store) web(bucket string) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(bucket, "s3://"), "?")
	return s.front.URL + "/" + path
}

// startOn runs a serve on a bucket, with the key and the tokens of another if
// one is given.
func startOn(t testing.TB, bucket string, like *server, args ...string) *server {
	t.Helper()
	p := newest(t)
	s := &server{Tree: bucket}
	if like != nil {
		s.Key, s.Tokens, s.Token = like.Key, like.Tokens, like.Token
	} else {
		s.Key, s.Tokens = p.NewKey(t, "serve.example.org-1"), filepath.Join(t.TempDir(), "tokens")
		s.Token = s.newToken(t, "ci", "upload")
	}
	s.run(t, "127.0.0.1:0", args...)
	return s
}

//go:build real

package soak_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/s3"
	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// The protocol rests on a store that refuses what was signed a quarter of an hour ago, so
// that a sweeper waits for an hour. Here it has seconds: a program with the build tag
// quickfence, and a store that refuses what was signed tooOld ago.
const (
	tooOld = 6 * time.Second
	known  = 6
	lease  = 20
)

// TestSoakBucket is the whole of it in MinIO, with a mirror in another bucket.
func TestSoakBucket(t *testing.T) {
	store := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.AccessKey, "AWS_SECRET_ACCESS_KEY": store.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	s := &soak{Program: nixtest.Program{Tags: "quickfence"}, lasts: lasts(t), pushers: 3, rest: time.Second, young: 12 * time.Second}
	if s.brief = s.lasts == 0; !s.brief {
		s.pushers, s.rest, s.young, s.killed = 8, 100*time.Millisecond, 30*time.Second, true
	}
	front := s.punctual(t, store.Endpoint)
	open := func(name string) shelf {
		at := func(endpoint string) string { return "s3://" + name + "/some/prefix?endpoint=" + endpoint }
		loc, err := s3.ParseURL(at(store.Endpoint))
		if err != nil {
			t.Fatal(err)
		}
		b, err := s3.New(t.Context(), loc)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if _, err := b.Prepare(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		return shelf{at(front), b}
	}
	s.tree, s.mirror = open("cache"), open("mirror")
	plan, err := json.Marshal(layout.SweepPlan{Epoch: 1, Nonce: "first", Known: known, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.tree.Put(t.Context(), layout.PlanKey, layout.Bytes(plan), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Output(t, "init", s.tree.location)
	s.run(t)
}

// punctual returns the address of a store that refuses requests which were signed too
// long ago, as all do after a quarter of an hour.
func (s *soak) punctual(t *testing.T, endpoint string) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed, err := time.Parse("20060102T150405Z", cmp.Or(r.Header.Get("X-Amz-Date"), r.URL.Query().Get("X-Amz-Date")))
		if err != nil || time.Since(signed) < tooOld {
			proxy.ServeHTTP(w, r)
			return
		}
		if !strings.Contains(r.URL.Path, layout.ProbePrefix) {
			s.late.Add(1)
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte("<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>"))
	}))
	t.Cleanup(front.Close)
	return front.URL
}

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

// A push that takes longer than its token is good for goes on with another; a cache that
// gives none for a while does not end it before that.
func TestPassIsRenewed(t *testing.T) {
	var given atomic.Int64
	var refuses atomic.Bool
	var got []string
	cache := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost:
			user, password, _ := r.BasicAuth()
			got = append(got, user+" "+password)
			fmt.Fprint(w, "StoreDir: /nix/store\n")
		case refuses.Load():
			http.Error(w, `{"error":"invalid_request","error_description":"not now"}`, http.StatusBadRequest)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"nst_%d","expires_in":2}`, given.Add(1))
		}
	}))
	defer cache.Close()
	t.Setenv("NIXSTATIC_ID_TOKEN", "a.b.c")
	t.Setenv("NIXSTATIC_AUDIENCE", "here")
	var o httpcache.Options
	o.Netrc = "/dev/null"
	var err error
	if o.Password, err = identity(t.Context(), cache.URL, o); err != nil || o.Password == nil {
		t.Fatalf("no identity: %v", err)
	}
	h, err := httpcache.Open(cache.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ask := func() {
		t.Helper()
		if _, err := layout.ReadAll(t.Context(), h, layout.CacheInfoKey); err != nil {
			t.Error(err)
		}
	}
	ask()
	time.Sleep(2100 * time.Millisecond)
	ask()
	refuses.Store(true)
	passes.Lock()
	passes.tried = time.Time{}
	passes.Unlock()
	ask() // the last one is good still
	if want := "oidc nst_1, oidc nst_2, oidc nst_2"; strings.Join(got, ", ") != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

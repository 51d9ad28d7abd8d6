//go:build real

package prune_test

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// TestLeftovers: uploads in parts that broke off go once no process can be at work on
// them, and a plan tells of them before.
func TestLeftovers(t *testing.T) {
	server := start(t)
	b, name := populate(t, server)
	collect(t, b, options(), 3)
	// The upload of a NAR in parts is cut off before it is completed.
	m := between(t, server.Endpoint)
	m.refuse = func(r *http.Request) bool {
		return r.URL.Query().Has("uploadId") && r.Method != http.MethodPut || r.Method == http.MethodDelete
	}
	cut := open(t, name, m.URL+"&multipart-threshold=5242880&multipart-chunk-size=5242880")
	body := bytes.Repeat([]byte("a NAR, as far as anyone can tell"), 6<<15)
	if err := cut.Put(t.Context(), layout.NARKey(sha256.Sum256(body), ""), layout.Bytes(body), layout.PutOptions{}); err == nil {
		t.Fatal("the upload was not cut off")
	}
	if plan, err := gc.Preview(t.Context(), b, options()); err != nil || plan.Unfinished != 0 {
		t.Errorf("a young one: %+v, %v", plan, err)
	}
	o := options()
	o.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	for range 2 { // a plan changes nothing
		if plan, err := gc.Preview(t.Context(), b, o); err != nil || plan.Unfinished != 1 {
			t.Fatalf("an old one: %+v, %v", plan, err)
		}
	}
	if done, err := gc.Collect(t.Context(), b, o, nil); err != nil || done.Unfinished != 1 || done.Epoch != 0 {
		t.Fatalf("Collect = %+v, %v", done, err)
	}
	for l, err := range b.Leftovers(t.Context(), time.Now().Add(time.Hour)) {
		t.Errorf("%v is left, %v", l, err)
	}
	check(t, b)
}

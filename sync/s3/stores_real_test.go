//go:build real

package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// refusing has a middleman refuse requests with some of the headers, and returns
// how often it did.
func refusing(m *middleman, status int, code string, headers ...string) *atomic.Int32 {
	var times atomic.Int32
	m.instead = func(w http.ResponseWriter, r *http.Request) bool {
		for _, name := range headers {
			if r.Header.Get(name) != "" {
				io.Copy(io.Discard, r.Body)
				times.Add(1)
				answer(w, status, code)
				return true
			}
		}
		return false
	}
	return &times
}

// refusals are how stores say that they do not know a header: Amazon's word and
// Cloudflare's of old, Backblaze's, and those of servers that say nothing more.
var refusals = []struct {
	status int
	code   string
}{{501, "NotImplemented"}, {400, "InvalidArgument"}, {400, "InvalidRequest"}, {400, "BadRequest"}}

// TestStoresWithoutChecksums: a store that refuses the headers of checksums is
// asked once with them.
func TestStoresWithoutChecksums(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.code, func(t *testing.T) {
			m := between(t, server.Endpoint)
			loc := location(t, m.URL)
			loc.PartThreshold, loc.PartSize = 6*mib, minPartSize
			b := create(t, loc)
			times := refusing(m, refusal.status, refusal.code, "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Algorithm")
			for i := range 3 {
				put(t, b, "index.html", fmt.Appendf(nil, "page %d", i), layout.PutOptions{})
			}
			want(t, b, "index.html", []byte("page 2"))
			large := pseudorandom(12 * mib)
			put(t, b, narOf(large), large, layout.PutOptions{IfAbsent: true})
			want(t, b, narOf(large), large)
			if n := times.Load(); n != 1 {
				t.Errorf("checksums were refused %d times, want once", n)
			}
			// The first object may be a large one.
			other := connected(t, loc)
			times = refusing(m, refusal.status, refusal.code, "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Algorithm")
			larger := pseudorandom(13 * mib)
			put(t, other, narOf(larger), larger, layout.PutOptions{})
			want(t, other, narOf(larger), larger)
			if n := times.Load(); n != 1 {
				t.Errorf("parts: checksums were refused %d times, want once", n)
			}
			// Bytes are checked even so.
			can, err := other.Probe(t.Context())
			if err != nil || !can.Checksum || !can.SeveralWriters() {
				t.Errorf("Probe: %+v, %v", can, err)
			}
			if err := other.Put(t.Context(), narOf([]byte("these")), layout.Bytes([]byte("those")), layout.PutOptions{}); err == nil {
				t.Error("Put of other bytes than the name promises succeeded")
			}
		})
	}
}

// TestStoresWithoutConditions: one that refuses them is said to, and is asked
// once. With one writer everything works.
func TestStoresWithoutConditions(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.code, func(t *testing.T) {
			m := between(t, server.Endpoint)
			loc := location(t, m.URL)
			loc.PartThreshold, loc.PartSize = 6*mib, minPartSize
			b := create(t, loc)
			times := refusing(m, refusal.status, refusal.code, "If-None-Match", "If-Match")
			for _, opts := range []layout.PutOptions{{IfAbsent: true}, {IfMatch: "0123456789abcdef0123456789abcdef"}} {
				err := b.Put(t.Context(), "index.html", layout.Bytes([]byte("x")), opts)
				if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "does not support conditional writes") {
					t.Errorf("Put with %+v: %v", opts, err)
				}
			}
			if n := times.Load(); n != 2 {
				t.Errorf("refused %d times, want twice: with checksums and without", n)
			}
			put(t, b, "index.html", []byte("x"), layout.PutOptions{})
			if b.manner() == hashPayload {
				t.Error("the store is taken for one that refuses checksums")
			}
			large := pseudorandom(12 * mib)
			if err := connected(t, loc).Put(t.Context(), narOf(large), layout.Bytes(large), layout.PutOptions{IfAbsent: true}); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("in parts: %v", err)
			}
			b.AssumeOneWriter()
			put(t, b, narOf(large), large, layout.PutOptions{IfAbsent: true})
			if err := b.Put(t.Context(), "index.html", layout.Bytes([]byte("y")), layout.PutOptions{IfAbsent: true}); err == nil {
				t.Error("what is there was replaced")
			}
		})
	}
	// A refusal for another reason is not taken for that.
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	refusing(m, 400, "EntityTooLarge", "If-None-Match")
	if err := b.Put(t.Context(), "index.html", layout.Bytes(nil), layout.PutOptions{IfAbsent: true}); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("too large: %v", err)
	}
}

// TestPoorestStore passes the suite of all trees without checksums and
// conditions, and with the first version of listing alone.
func TestPoorestStore(t *testing.T) {
	m := between(t, server.Endpoint)
	treetest.Test(t, func(t *testing.T) layout.Tree {
		m.instead = nil
		b := create(t, location(t, m.URL))
		refusing(m, 400, "InvalidArgument", "If-None-Match", "If-Match", "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Algorithm")
		headers := m.instead
		m.instead = func(w http.ResponseWriter, r *http.Request) bool {
			// Whole objects may be read under a condition.
			if r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "" {
				return false
			}
			if r.URL.Query().Get("list-type") == "2" {
				answer(w, 501, "NotImplemented")
				return true
			}
			return headers(w, r)
		}
		b.AssumeOneWriter()
		return b
	})
}

// TestOlderListing: a store of old takes the second version of listing for the
// first, and gives no token for the next page.
func TestOlderListing(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	fill(t, b, "log/%032d-x.drv", 1500)
	for name, instead := range map[string]func(w http.ResponseWriter){
		"gives no token": func(w http.ResponseWriter) {
			io.WriteString(w, `<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>log/00000000000000000000000000000000-x.drv</Key><Size>0</Size></Contents></ListBucketResult>`)
		},
		"refuses it":     func(w http.ResponseWriter) { answer(w, 501, "NotImplemented") },
		"calls it wrong": func(w http.ResponseWriter) { answer(w, 400, "InvalidArgument") },
	} {
		m.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("list-type") != "2" {
				return false
			}
			instead(w)
			return true
		}
		older := connected(t, b.loc)
		if err := older.Check(t.Context()); err != nil {
			t.Errorf("%s: Check: %v", name, err)
		}
		for range 2 {
			if err := count(older, "", 1500); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := top(older); err != nil || len(got) != 1 {
			t.Errorf("%s: ListTop: %q, %v", name, got, err)
		}
	}
}

// TestVirtualHost: a store that wants the bucket in the name of the host is asked
// so.
func TestVirtualHost(t *testing.T) {
	for _, code := range []string{"SecondLevelDomainForbidden", "PathStyleDomainForbidden", "InvalidPathAccess", "VirtualHostDomainRequired"} {
		m := between(t, server.Endpoint)
		loc := location(t, "http://store.test")
		m.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.Host, loc.Bucket+".") {
				answer(w, http.StatusForbidden, code)
			} else {
				io.WriteString(w, "<ListBucketResult></ListBucketResult>")
			}
			return true
		}
		reach := func(loc Location) *Bucket {
			b := connected(t, loc)
			b.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(m.URL, "http://"))
			}
			return b
		}
		b := reach(loc)
		if err := b.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		if err := count(b, "", 0); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		loc.Addressing = "path"
		if err := reach(loc).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "addressing-style=virtual") {
			t.Errorf("%s, asked for path: %v", code, err)
		}
	}
}

// TestLocationConstraint: a store that does not take the region of a bucket that
// is to be made is asked without.
func TestLocationConstraint(t *testing.T) {
	for _, code := range []string{"InvalidLocationConstraint", "IllegalLocationConstraintException", "NotImplemented"} {
		m := between(t, server.Endpoint)
		made := false
		m.instead = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.Method == http.MethodPut && r.ContentLength > 0 && !r.URL.Query().Has("lifecycle"):
				answer(w, http.StatusBadRequest, code)
			case r.URL.Query().Has("lifecycle") && r.Method == http.MethodGet:
				answer(w, http.StatusNotFound, "NoSuchLifecycleConfiguration")
			case r.Method == http.MethodPut:
				made = true
			case !made:
				answer(w, http.StatusNotFound, "NoSuchBucket")
			default:
				io.WriteString(w, "<ListBucketResult></ListBucketResult>")
			}
			return true
		}
		loc := location(t, m.URL)
		loc.Region = "default"
		if done, err := connected(t, loc).Prepare(t.Context(), false); err != nil || !done.Created {
			t.Errorf("%s: %+v, %v", code, done, err)
		}
	}
}

//go:build real

package s3

import (
	"errors"
	"io/fs"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func TestProbe(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	m.counted()
	got, err := b.Probe(t.Context())
	if n := len(m.counted()); n != 23 {
		t.Errorf("%d requests, want the 23 that are promised", n)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Capabilities{IfAbsent: true, IfMatch: true, Checksum: true}, got); diff != "" || !got.SeveralWriters() {
		t.Errorf("MinIO (-want +got):\n%s", diff)
	}
	if err := count(b, layout.PrivatePrefix, 0); err != nil {
		t.Errorf("the probe left something: %v", err)
	}
}

// TestProbeOfStoresThatLack: it is said of a store that it ignores conditions,
// refuses them, or looks first and writes then.
func TestProbeOfStoresThatLack(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	create(t, loc)
	m.plan(func(int, *http.Request) harm { return notForUs })
	b := connected(t, loc)
	got, err := b.Probe(t.Context())
	if diff := cmp.Diff(Capabilities{Checksum: true}, got); diff != "" || err != nil || got.SeveralWriters() {
		t.Errorf("a store that refuses conditions: %v (-want +got):\n%s", err, diff)
	}
	if err := count(b, layout.PrivatePrefix, 0); err != nil {
		t.Errorf("the probe left something: %v", err)
	}
	// Conditions that are ignored: the client never sends them.
	deaf := connected(t, loc)
	deaf.guard.(*guard).RoundTripper = &forgetful{deaf: true, next: deaf.transport}
	m.plan(nil)
	got, err = unsigned(t, deaf).Probe(t.Context())
	if diff := cmp.Diff(Capabilities{Checksum: true}, got); diff != "" || err != nil {
		t.Errorf("a store that ignores conditions: %v (-want +got):\n%s", err, diff)
	}
	hasty := connected(t, loc)
	hasty.guard.(*guard).RoundTripper = &forgetful{next: hasty.transport}
	got, err = unsigned(t, hasty).Probe(t.Context())
	if got.SeveralWriters() || err != nil {
		t.Errorf("a store that looks first and writes then: %+v, %v", got, err)
	}
}

// TestProveFirst: the store is tried once, before the first Put. With one that keeps
// to no conditions Alone is told, unless OneWriter is set, and conditions hold even so.
func TestProveFirst(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	create(t, loc)
	loc.ProveFirst = true
	for name, c := range map[string]struct {
		deaf, oneWriter bool
		told            int
	}{
		"a good store": {told: 0}, "one that refuses conditions": {deaf: true, told: 1},
		"one that refuses them, with one writer": {deaf: true, oneWriter: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.plan(nil)
			if c.deaf {
				m.plan(func(int, *http.Request) harm { return notForUs })
			}
			told := 0
			loc.OneWriter, loc.Alone = c.oneWriter, func() { told++ }
			b := connected(t, loc)
			key := layout.Key("index.html")
			m.counted()
			if _, err := b.Stat(t.Context(), key); err != nil && !errors.Is(err, fs.ErrNotExist) || len(m.counted()) != 1 {
				t.Errorf("a look asks for more than that: %v", err)
			}
			if err := b.Put(t.Context(), key, layout.Bytes([]byte("first")), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if n := len(m.counted()); n < 10 {
				t.Errorf("%d requests for the first Put: it was not proved", n)
			}
			if err := b.Put(t.Context(), key, layout.Bytes([]byte("again")), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second Put if absent: %v", err)
			}
			if n := len(m.counted()); n != 1 {
				t.Errorf("%d requests for the second Put", n)
			}
			if told != c.told {
				t.Errorf("Alone was called %d times, want %d", told, c.told)
			}
		})
	}
}

// unsigned makes requests that are not signed, so that what stands between may
// change headers.
func unsigned(t *testing.T, b *Bucket) *Bucket {
	t.Helper()
	everyoneMay(t, b)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	other := connected(t, b.loc)
	other.guard.(*guard).RoundTripper = b.guard.(*guard).RoundTripper
	return other
}

// everyoneMay lets anyone do anything in the bucket.
func everyoneMay(t *testing.T, b *Bucket) {
	t.Helper()
	if err := b.client.Load().SetBucketPolicy(t.Context(), b.loc.Bucket, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"AWS":["*"]},"Action":["s3:*"],"Resource":["arn:aws:s3:::`+b.loc.Bucket+`","arn:aws:s3:::`+b.loc.Bucket+`/*"]}]}`); err != nil {
		t.Fatal(err)
	}
}

// forgetful is a store that does not know conditions, or checks them some time
// before it writes.
type forgetful struct {
	deaf bool
	next http.RoundTripper
}

func (f *forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut || r.Header.Get("If-Match")+r.Header.Get("If-None-Match") == "" {
		return f.next.RoundTrip(r)
	}
	if !f.deaf {
		head := r.Clone(r.Context())
		head.Method, head.Body, head.ContentLength = http.MethodHead, nil, 0
		head.Header = http.Header{}
		resp, err := f.next.RoundTrip(head)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		exists := resp.StatusCode == 200
		etag := resp.Header.Get("ETag")
		if exists && r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != etag {
			resp.StatusCode = http.StatusPreconditionFailed
			return resp, nil
		}
	}
	r.Header.Del("If-Match")
	r.Header.Del("If-None-Match")
	return f.next.RoundTrip(r)
}

// TestAssumeOneWriter: with one process, conditions hold even so, and the suite
// of all trees passes.
func TestAssumeOneWriter(t *testing.T) {
	m := between(t, server.Endpoint)
	treetest.Test(t, func(t *testing.T) layout.Tree {
		b := create(t, location(t, m.URL))
		m.plan(func(int, *http.Request) harm { return notForUs })
		b.AssumeOneWriter()
		return b
	})
}

// TestTwoProcesses has two that share nothing but the bucket fight for a lock.
func TestTwoProcesses(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Log = nil
	both := []*Bucket{create(t, loc), connected(t, loc)}
	var holders, won atomic.Int32
	var all sync.WaitGroup
	key := layout.Key(".nixstatic/lock")
	for i := range 16 {
		b := both[i%2]
		all.Go(func() {
			for range 20 {
				err := b.Put(t.Context(), key, layout.Bytes([]byte("held")), layout.PutOptions{IfAbsent: true})
				if errors.Is(err, fs.ErrExist) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				won.Add(1)
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				holders.Add(-1)
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if won.Load() == 0 {
		t.Error("nobody ever held it")
	}
}

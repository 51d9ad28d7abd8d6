//go:build real

package s3

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// inParts is a bucket in which NARs of more than a part go up in parts, behind
// a middleman.
func inParts(t *testing.T) (*Bucket, *middleman) {
	t.Helper()
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.PartThreshold, loc.PartSize = minPartSize, minPartSize
	return create(t, loc), m
}

func TestParts(t *testing.T) {
	b, m := inParts(t)
	data := pseudorandom(3*minPartSize + 1)
	key := narOf(data)
	m.counted()
	put(t, b, key, data, layout.PutOptions{IfAbsent: true})
	part := "PUT uploadId partNumber"
	wanted := []string{"GET uploads", "HEAD", "POST uploadId", "POST uploads", part, part, part, part}
	if diff := cmp.Diff(wanted, m.counted()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	want(t, b, key, data)
	info, err := b.Stat(t.Context(), key)
	if err != nil || strings.Contains(info.ETag, `"`) || info.Size != int64(len(data)) {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	o, err := b.stat(t.Context(), key)
	if err != nil || o.ContentType != key.ContentType() || o.Metadata.Get("Cache-Control") != key.Kind().CacheControl() {
		t.Errorf("headers: %v, %v", o.Metadata, err)
	}
	if err := b.Put(t.Context(), key, layout.Bytes(data), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put of a NAR that is there: %v", err)
	}
	put(t, b, key, data, layout.PutOptions{})
	noLeftovers(t, b)
}

// TestLargeNAR sends 200 MB, which is more than a buffer holds.
func TestLargeNAR(t *testing.T) {
	loc := location(t, server.Endpoint)
	b := create(t, loc)
	data := bytes.Repeat(pseudorandom(1<<20), 200)
	key := narOf(data)
	put(t, b, key, data, layout.PutOptions{IfAbsent: true})
	want(t, b, key, data)
	noLeftovers(t, b)
}

// TestPartsFaults: a fault of any one request, whatever it is, is got over.
func TestPartsFaults(t *testing.T) {
	b, m := inParts(t)
	data := pseudorandom(minPartSize + 1) // 6 requests
	key := narOf(data)
	for name, fault := range faults {
		for n := range 6 {
			for _, opts := range []layout.PutOptions{{IfAbsent: true}, {}} {
				m.plan(nil)
				if err := b.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				m.plan(nth(n+1, fault))
				if err := b.Put(t.Context(), key, layout.Bytes(data), opts); err != nil {
					t.Errorf("%s at request %d, %+v: %v (%q)", name, n+1, opts, err, m.counted())
				}
				m.plan(nil)
				if info, err := b.Stat(t.Context(), key); err != nil || info.Size != int64(len(data)) {
					t.Errorf("%s at request %d, %+v: %+v, %v", name, n+1, opts, info, err)
				}
			}
		}
	}
}

// TestPartsResumed: what was sent before the end is not sent again.
func TestPartsResumed(t *testing.T) {
	b, m := inParts(t)
	const n = 9
	data := pseudorandom(n * minPartSize)
	key := narOf(data)
	ctx, die := context.WithCancel(t.Context())
	var sent atomic.Int32
	m.plan(func(_ int, r *http.Request) harm {
		if r.URL.Query().Has("partNumber") && sent.Add(1) == n-1 { // the first are there: so many are never in flight
			die()
			return dropBefore
		}
		return none
	})
	if err := b.Put(ctx, key, layout.Bytes(data), layout.PutOptions{IfAbsent: true}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Put: %v", err)
	}
	left := leftovers(t, b, time.Now().Add(time.Hour))
	if len(left) != 1 || left[0].Key != key {
		t.Fatalf("leftovers: %+v", left)
	}
	if young := leftovers(t, b, time.Now().Add(-time.Hour)); len(young) != 0 {
		t.Errorf("what is younger than an hour is older than an hour: %+v", young)
	}
	// The connection's end may be told before the store has the last parts.
	time.Sleep(200 * time.Millisecond)
	m.plan(nil)
	put(t, b, key, data, layout.PutOptions{IfAbsent: true})
	got := m.counted()
	again := len(slices.DeleteFunc(slices.Clone(got), func(r string) bool { return r != "PUT uploadId partNumber" }))
	if slices.Contains(got, "POST uploads") || again >= n || again == 0 {
		t.Errorf("%d of %d parts were sent again: %q", again, n, got)
	}
	want(t, b, key, data)
	noLeftovers(t, b)
}

// TestPartsOfOthers: parts that are not what ours would be are not used, and
// what others left can be removed.
func TestPartsOfOthers(t *testing.T) {
	b, _ := inParts(t)
	data := pseudorandom(2 * minPartSize)
	key := narOf(data)
	foreign := &upload{key: key, body: layout.Bytes(bytes.Repeat([]byte("x"), 2*minPartSize))}
	p, err := b.resumeParts(t.Context(), foreign, minPartSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.sendPart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	put(t, b, key, data, layout.PutOptions{IfAbsent: true})
	want(t, b, key, data)
	left := leftovers(t, b, time.Now().Add(time.Hour))
	if len(left) != 1 {
		t.Fatalf("leftovers: %+v", left)
	}
	for range 2 {
		if err := b.RemoveLeftover(t.Context(), left[0]); err != nil {
			t.Error(err)
		}
	}
	noLeftovers(t, b)
	want(t, b, key, data)
}

// TestPartsRefused: what will never succeed leaves nothing.
func TestPartsRefused(t *testing.T) {
	b, _ := inParts(t)
	data := pseudorandom(2*minPartSize + 1)
	other := narOf([]byte("something else"))
	err := b.Put(t.Context(), other, layout.Bytes(data), layout.PutOptions{})
	if err == nil || !strings.Contains(err.Error(), "not its name") {
		t.Errorf("Put of other bytes than the name promises: %v", err)
	}
	fault := errors.New("the disk is on fire")
	err = b.Put(t.Context(), other, unreadableBody{fault}, layout.PutOptions{})
	if !errors.Is(err, fault) {
		t.Errorf("Put of a body that cannot be read: %v", err)
	}
	if _, err := b.Stat(t.Context(), other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	noLeftovers(t, b)
}

type unreadableBody struct{ err error }

func (unreadableBody) Size() int64 { return 3 * minPartSize }

func (u unreadableBody) ReadAt(p []byte, off int64) (int, error) {
	if off >= minPartSize {
		return 0, u.err
	}
	return len(p), nil
}

// TestPartsRace: of several that put one NAR at the same time, in parts, all
// are content, at least one did it, and it is whole.
func TestPartsRace(t *testing.T) {
	b, _ := inParts(t)
	data := pseudorandom(2 * minPartSize)
	key := narOf(data)
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			err := b.Put(t.Context(), key, layout.Bytes(data), layout.PutOptions{IfAbsent: true})
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, fs.ErrExist):
				lost.Add(1)
			default:
				t.Errorf("Put: %v", err)
			}
		})
	}
	all.Wait()
	if won.Load() == 0 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	want(t, b, key, data)
}

func leftovers(t *testing.T, b *Bucket, before time.Time) []layout.Leftover {
	t.Helper()
	var left []layout.Leftover
	for l, err := range b.Leftovers(t.Context(), before) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, l)
	}
	return left
}

func noLeftovers(t *testing.T, b *Bucket) {
	t.Helper()
	if left := leftovers(t, b, time.Now().Add(time.Hour)); len(left) != 0 {
		t.Errorf("leftovers: %+v", left)
	}
}

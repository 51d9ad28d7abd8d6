//go:build real

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// faults are all that can go wrong with one request and may go well the next
// time: it happened, or it did not.
var faults = map[string]harm{
	"dropped before": dropBefore, "dropped after": dropAfter, "slow down": slowDown, "internal error after": internal,
}

// TestFaults has every operation succeed, and mean what it says, though its
// first request fails.
func TestFaults(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	data := pseudorandom(100_000)
	page, record, nar := layout.Key("index.html"), layout.Key("00000000000000000000000000000000.narinfo"), narOf(data)
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			m.plan(nil)
			for _, key := range []layout.Key{page, record, nar} {
				if err := b.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			fail := func() { m.plan(nth(1, fault)) }
			fail()
			put(t, b, page, data, layout.PutOptions{})
			want(t, b, page, data)

			// Our own lost Put is not taken for that of another process.
			for _, key := range []layout.Key{record, nar} {
				fail()
				put(t, b, key, data, layout.PutOptions{IfAbsent: true})
				want(t, b, key, data)
			}
			info, err := b.Stat(t.Context(), record)
			if err != nil {
				t.Fatal(err)
			}
			fail()
			put(t, b, record, []byte("next"), layout.PutOptions{IfMatch: info.ETag})
			want(t, b, record, []byte("next"))

			fail()
			want(t, b, record, []byte("next"))
			fail()
			if info, err := b.Stat(t.Context(), nar); err != nil || info.Size != int64(len(data)) {
				t.Errorf("Stat: %+v, %v", info, err)
			}
			fail()
			if err := count(b, "", 3); err != nil {
				t.Error(err)
			}
			for _, key := range []layout.Key{record, record} {
				fail()
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
			fail()
			if _, err := b.Stat(t.Context(), record); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat of what was deleted: %v", err)
			}
		})
	}
}

// TestLostAnswers: the object that is there after an answer was lost is that of
// another process. Equal bytes do not prove that it is ours.
func TestLostAnswers(t *testing.T) {
	m := between(t, server.Endpoint)
	b, other := create(t, location(t, m.URL)), (*Bucket)(nil)
	loc := b.loc
	loc.Endpoint = server.Endpoint
	other = connected(t, loc)
	key := layout.Key(".nixstatic/lock")
	body := []byte("the same in every process")

	// They put between our first attempt, which fails, and our second.
	m.plan(func(n int, _ *http.Request) harm {
		if n != 1 {
			return none
		}
		put(t, other, key, body, layout.PutOptions{IfAbsent: true})
		return dropBefore
	})
	if err := b.Put(t.Context(), key, layout.Bytes(body), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put if absent: %v, want fs.ErrExist", err)
	}
	// And after we looked, before we put again.
	if err := other.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	m.plan(func(n int, r *http.Request) harm {
		switch {
		case n == 1:
			return dropBefore
		case n == 3 && r.Method == http.MethodPut:
			put(t, other, key, body, layout.PutOptions{IfAbsent: true})
		}
		return none
	})
	if err := b.Put(t.Context(), key, layout.Bytes(body), layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put if absent: %v, want fs.ErrExist", err)
	}
	// The same with a version to replace: theirs went between.
	info, err := other.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	m.plan(func(n int, _ *http.Request) harm {
		if n != 1 {
			return none
		}
		put(t, other, key, []byte("theirs"), layout.PutOptions{IfMatch: info.ETag})
		return dropBefore
	})
	if err := b.Put(t.Context(), key, layout.Bytes([]byte("ours")), layout.PutOptions{IfMatch: info.ETag}); !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Put if unchanged: %v, want layout.ErrChanged", err)
	}
	want(t, other, key, []byte("theirs"))
}

// TestGivingUp: a store that never recovers is told of, with how often it was
// asked. A request that it refused for good is not made again.
func TestGivingUp(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.Attempts = 3
	b := create(t, loc)
	for name, fault := range map[string]harm{"dropped": dropBefore, "slow down": slowDown} {
		m.plan(func(int, *http.Request) harm { return fault })
		// Not a Get or Stat: of those the HTTP client repeats some by itself.
		err := b.Put(t.Context(), "index.html", layout.Bytes([]byte("x")), layout.PutOptions{})
		if err == nil || !strings.Contains(err.Error(), "attempt 3 of 3") {
			t.Errorf("%s: %v", name, err)
		}
		if got := m.counted(); len(got) != 3 {
			t.Errorf("%s: requests %q, want three", name, got)
		}
	}
	// Patience ends with the context.
	b.loc.Attempts, b.loc.RetryDelay = 100, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	m.plan(func(int, *http.Request) harm { cancel(); return slowDown })
	if err := b.Put(ctx, "index.html", layout.Bytes(nil), layout.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in a pause: %v", err)
	}
}

// TestBrokenDownloads: a body that breaks off is resumed, of the same version.
func TestBrokenDownloads(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	data := pseudorandom(300_000)
	key := narOf(data)
	put(t, b, key, data, layout.PutOptions{})
	page := layout.Key("index.html")
	put(t, b, page, data, layout.PutOptions{})
	for _, key := range []layout.Key{key, page} {
		m.plan(func(n int, _ *http.Request) harm {
			if n < 5 {
				return cutBody
			}
			return none
		})
		want(t, b, key, data)
		if got := m.counted(); len(got) != 5 {
			t.Errorf("%s: requests %q, want five", key, got)
		}
	}
	// A store that never gives the end is given up.
	m.plan(func(int, *http.Request) harm { return cutBody })
	if _, err := layout.ReadAll(t.Context(), b, key); err == nil {
		t.Error("half an object passes for a whole")
	}
	// Another version is not glued to the first.
	large := bytes.Repeat([]byte("old "), readWhole)
	m.plan(nil)
	put(t, b, page, large, layout.PutOptions{})
	m.plan(nth(1, cutBody))
	r, _, err := b.Get(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Fatal(err)
	}
	put(t, b, page, []byte("new"), layout.PutOptions{})
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, layout.ErrChanged) {
		t.Errorf("reading on in another version: %v, want layout.ErrChanged", err)
	}
}

// TestBrokenLists: a listing goes on behind the last key that was given out.
func TestBrokenLists(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.Attempts = 2
	b := create(t, loc)
	fill(t, b, "log/%032d-x.drv", 2100)
	// Every page fails once: more failures than attempts, but none twice.
	m.plan(func(n int, _ *http.Request) harm {
		if n%2 == 1 {
			return cutBody
		}
		return none
	})
	seen := map[layout.Key]bool{}
	for info, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if seen[info.Key] {
			t.Fatalf("%s is listed twice", info.Key)
		}
		seen[info.Key] = true
	}
	if len(seen) != 2100 {
		t.Errorf("%d of 2100 keys are listed", len(seen))
	}
	// A page that never comes is an error, not the end of the tree.
	m.plan(func(n int, _ *http.Request) harm {
		if n > 1 {
			return slowDown
		}
		return none
	})
	n, err := 0, error(nil)
	for _, e := range b.List(t.Context(), "") {
		if err = e; e == nil {
			n++
		}
	}
	if n != 1000 || err == nil {
		t.Errorf("%d keys, then %v", n, err)
	}
}

// TestStall: a connection that stands still ends, one that goes slowly does not.
func TestStall(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	b := create(t, loc)
	loc.Stall, loc.Attempts = 50*time.Millisecond, 2
	loc.Endpoint = m.URL
	hasty := connected(t, loc)
	m.plan(func(int, *http.Request) harm { return slow })
	if _, err := hasty.Stat(t.Context(), "index.html"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that does not answer in time: %v", err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce has half of all requests fail while a batch is put.
func TestManyAtOnce(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.Attempts, loc.Log = 50, nil
	b := create(t, loc)
	all := []harm{none, dropBefore, none, dropAfter, none, slowDown, none, internal}
	m.plan(func(n int, _ *http.Request) harm { return all[n%len(all)] })
	var group []layout.Object
	for i := range 100 {
		key := layout.Key(fmt.Sprintf("log/%032d-x.drv", i))
		group = append(group, layout.Object{Key: key, Body: layout.Bytes([]byte{byte(i)}), Opts: layout.PutOptions{IfAbsent: true}})
	}
	taken, err := b.PutBatch(t.Context(), group)
	if err != nil || len(taken) != 0 {
		t.Errorf("taken %v, %v: all of them are ours", taken, err)
	}
	m.plan(nil)
	for i, o := range group {
		want(t, b, o.Key, []byte{byte(i)})
	}
}

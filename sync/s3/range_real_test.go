//go:build real

package s3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func TestOpenRange(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	data := pseudorandom(100_000)
	key := narOf(data)
	put(t, b, key, data, layout.PutOptions{})
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	read := func(from, to int64) ([]byte, error) {
		body, err := b.OpenRange(t.Context(), info, from, to)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		return io.ReadAll(body)
	}
	for _, c := range []struct {
		from, to int64
		want     []string
	}{
		{0, 1, []string{"GET"}}, {0, 100_000, []string{"GET"}}, {5, 10, []string{"GET"}}, {99_999, 100_000, []string{"GET"}}, {7, 7, nil},
	} {
		m.counted()
		got, err := read(c.from, c.to)
		if err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("[%d, %d): %d bytes, %v", c.from, c.to, len(got), err)
		}
		if diff := cmp.Diff(c.want, m.counted()); diff != "" {
			t.Errorf("[%d, %d): requests (-want +got):\n%s", c.from, c.to, diff)
		}
	}
	for _, c := range [][2]int64{{-1, 5}, {5, 4}, {0, 100_001}} {
		if _, err := read(c[0], c[1]); err == nil {
			t.Errorf("[%d, %d) can be read", c[0], c[1])
		}
	}
	// A body that breaks off is resumed, to the end that was asked for.
	m.plan(nth(1, cutBody))
	if got, err := read(10_000, 90_000); err != nil || !bytes.Equal(got, data[10_000:90_000]) {
		t.Errorf("a range that broke off: %d bytes, %v", len(got), err)
	}
	m.plan(nil)
	page := layout.Key("index.html")
	put(t, b, page, []byte("the old one"), layout.PutOptions{})
	if info, err = b.Stat(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	put(t, b, page, []byte("the new one"), layout.PutOptions{})
	if _, err := read(0, 3); !errors.Is(err, layout.ErrChanged) {
		t.Errorf("a range of what is not there any more: %v", err)
	}
}

// TestBrokenAtOnce: a body that ends before its first byte is asked for again.
func TestBrokenAtOnce(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	data := []byte("x") // half of it is nothing
	put(t, b, narOf(data), data, layout.PutOptions{})
	m.plan(nth(1, cutBody))
	want(t, b, narOf(data), data)
	if got := m.counted(); len(got) != 2 {
		t.Errorf("requests %q, want two", got)
	}
}

func TestPresign(t *testing.T) {
	loc := location(t, server.Endpoint)
	loc.Prefix = "pre/fix"
	b := create(t, loc)
	data := pseudorandom(1000)
	key := narOf(data)
	put(t, b, key, data, layout.PutOptions{})
	signed, err := b.Presign(t.Context(), key, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil || u.Query().Get("X-Amz-Expires") != "900" {
		t.Errorf("%s: %v", signed, err)
	}
	resp, err := http.Get(signed)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, data) || resp.Header.Get("Content-Type") != "application/x-nix-nar" {
		t.Errorf("%s: %d bytes as %s, %v", resp.Status, len(got), resp.Header.Get("Content-Type"), err)
	}
	plain, err := b.WebURL(t.Context())
	if err != nil || plain != server.Endpoint+"/"+loc.Bucket+"/pre/fix" {
		t.Errorf("the web address is %s, %v", plain, err)
	}
	// Absent is absent.
	if signed, err = b.Presign(t.Context(), narOf(nil), time.Minute); err != nil {
		t.Fatal(err)
	}
	if resp, err = http.Get(signed); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("an absent NAR: %s", resp.Status)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := connected(t, loc).Presign(t.Context(), key, time.Minute); !errors.Is(err, errUnsigned) {
		t.Errorf("without credentials: %v", err)
	}
}

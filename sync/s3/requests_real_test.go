//go:build real

package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// Each operation costs these requests, for which a store sends a bill.
func TestRequests(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	data := pseudorandom(1000)
	key, page, log := narOf(data), layout.Key("index.html"), layout.Key("log/00000000000000000000000000000000-x.drv")
	big := pseudorandom(lookFirst)
	etag := func() string {
		info, err := b.Stat(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		m.counted()
		return info.ETag
	}
	m.counted()
	for _, c := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"Put", func() error { return b.Put(t.Context(), page, layout.Bytes(data), layout.PutOptions{}) }, []string{"PUT"}},
		{"Put of a NAR that is not there", func() error { return b.Put(t.Context(), key, layout.Bytes(data), layout.PutOptions{IfAbsent: true}) }, []string{"PUT"}},
		{"Put of a NAR that is there", func() error {
			err := b.Put(t.Context(), key, layout.Bytes(data), layout.PutOptions{IfAbsent: true})
			if !errors.Is(err, fs.ErrExist) {
				return errors.New("it is not there")
			}
			return nil
		}, []string{"PUT"}},
		{"Put of a large NAR", func() error {
			return b.Put(t.Context(), narOf(big), layout.Bytes(big), layout.PutOptions{IfAbsent: true})
		}, []string{"HEAD", "PUT"}},
		{"Put of a large NAR that is there", func() error {
			err := b.Put(t.Context(), narOf(big), layout.Bytes(big), layout.PutOptions{IfAbsent: true})
			if !errors.Is(err, fs.ErrExist) {
				return errors.New("it is not there")
			}
			return nil
		}, []string{"HEAD"}},
		{"Put if it matches", func() error {
			return b.Put(t.Context(), page, layout.Bytes(data), layout.PutOptions{IfMatch: etag()})
		}, []string{"PUT"}},
		{"Put of no bytes", func() error { return b.Put(t.Context(), log, layout.Bytes(nil), layout.PutOptions{}) }, []string{"PUT"}},
		{"Stat", func() error { _, err := b.Stat(t.Context(), key); return err }, []string{"HEAD"}},
		{"Stat of what is absent", func() error {
			if _, err := b.Stat(t.Context(), "robots.txt"); !errors.Is(err, fs.ErrNotExist) {
				return errors.New("it is not absent")
			}
			return nil
		}, []string{"HEAD"}},
		{"Get", func() error { _, err := layout.ReadAll(t.Context(), b, key); return err }, []string{"GET"}},
		{"Get of what may change", func() error { _, err := layout.ReadAll(t.Context(), b, page); return err }, []string{"GET"}},
		{"Delete", func() error { return b.Delete(t.Context(), page) }, []string{"DELETE"}},
		{"List", func() error { return count(b, "", 3) }, []string{"GET list-type"}},
		{"List of a prefix that no key has", func() error { return count(b, "/", 0) }, nil},
		{"Check", func() error { return b.Check(t.Context()) }, []string{"GET list-type"}},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, m.counted()); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestRequestsOfLists(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	fill(t, b, "log/%032d-x.drv", 2500)
	m.counted()
	page := "GET list-type"
	if err := count(b, "", 2500); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{page, page, page}, m.counted()); diff != "" {
		t.Errorf("2500 keys (-want +got):\n%s", diff)
	}
	// A few private objects are passed over, many are jumped over.
	put(t, b, ".nixstatic/one", nil, layout.PutOptions{})
	m.counted()
	if err := count(b, "", 2500); err != nil {
		t.Error(err)
	}
	if got := m.counted(); len(got) != 3 {
		t.Errorf("a private object costs requests: %q", got)
	}
	fill(t, b, ".nixstatic/%d", 1100)
	m.counted()
	if err := count(b, "", 2500); err != nil {
		t.Error(err)
	}
	if got := m.counted(); len(got) != 4 {
		t.Errorf("1100 private objects cost %d requests, want one for 2500 others and them", len(got)-3)
	}
	if err := count(b, ".nixstatic/", 1101); err != nil {
		t.Error(err)
	}
	// Objects in folders cost nothing if they are not asked for.
	put(t, b, "index.html", nil, layout.PutOptions{})
	m.counted()
	if got, err := top(b); err != nil || !slices.Equal(got, []string{"index.html", "log/"}) {
		t.Errorf("ListTop: %q, %v", got, err)
	}
	if diff := cmp.Diff([]string{page}, m.counted()); diff != "" {
		t.Errorf("ListTop (-want +got):\n%s", diff)
	}
	// If it has to be done the other way, a page for each folder.
	m.plan(func(n int, _ *http.Request) harm {
		if n == 1 {
			return cutBody
		}
		return none
	})
	if got, err := top(b); err != nil || !slices.Equal(got, []string{"index.html", "log/"}) {
		t.Errorf("ListTop after a failure: %q, %v", got, err)
	}
	if got := m.counted(); len(got) != 4 {
		t.Errorf("ListTop after a failure costs %d requests", len(got))
	}
}

// top returns what ListTop yields.
func top(b *Bucket) (names []string, err error) {
	for e, err := range b.ListTop(context.Background()) {
		if err != nil {
			return names, err
		}
		names = append(names, string(e.Key)+e.Folder)
	}
	return names, nil
}

// The headers are those of the table of kinds, and the hash is one that the
// store knows.
func TestHeaders(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.StorageClass = "REDUCED_REDUNDANCY"
	b := create(t, loc)
	data := []byte("some bytes")
	sum := sha256.Sum256(data)
	for _, key := range []layout.Key{narOf(data), "00000000000000000000000000000000.narinfo", "00000000000000000000000000000000.ls",
		"nix-cache-info", "index.html", "log/00000000000000000000000000000000-x.drv", ".nixstatic/x",
		"realisations/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!out.doi"} {
		for _, opts := range []layout.PutOptions{{IfAbsent: true}, {}} {
			put(t, b, key, data, opts)
			o, err := b.client.Load().StatObject(t.Context(), b.loc.Bucket, string(key), minio.StatObjectOptions{Checksum: true})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{o.ContentType, o.Metadata.Get("Cache-Control"), o.Metadata.Get("X-Amz-Storage-Class")}
			want := []string{key.ContentType(), key.Kind().CacheControl(), "REDUCED_REDUNDANCY"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
			if token := o.UserMetadata[tokenName]; (token != "") != (opts.IfAbsent && !key.Kind().Immutable()) {
				t.Errorf("%s put with %+v has the token %q", key, opts, token)
			}
			if o.ChecksumSHA256 != base64.StdEncoding.EncodeToString(sum[:]) {
				t.Errorf("%s: the store knows the SHA-256 %q", key, o.ChecksumSHA256)
			}
		}
	}
}

// TestWrongBytes: the store itself refuses bytes that are not those of the name.
func TestWrongBytes(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	key := narOf([]byte("these"))
	m.counted()
	err := b.Put(t.Context(), key, layout.Bytes([]byte("those")), layout.PutOptions{})
	if err == nil {
		t.Fatal("Put of other bytes than the name promises succeeded")
	}
	t.Log(err)
	if got := m.counted(); len(got) != 1 {
		t.Errorf("requests: %q, want one: no other would go better", got)
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

// fill puts empty objects.
func fill(t *testing.T, b *Bucket, name string, n int) {
	t.Helper()
	var group []layout.Object
	for i := range n {
		group = append(group, layout.Object{Key: layout.Key(fmt.Sprintf(name, i)), Body: layout.Bytes(nil)})
	}
	if _, err := b.PutBatch(t.Context(), group); err != nil {
		t.Fatal(err)
	}
}

func count(b *Bucket, prefix string, want int) error {
	n := 0
	for _, err := range b.List(context.Background(), prefix) {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		return fmt.Errorf("%d keys below %q, want %d", n, prefix, want)
	}
	return nil
}

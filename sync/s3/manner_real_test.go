//go:build real

package s3

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

const noPayload = "UNSIGNED-PAYLOAD"

// payloads has a middleman remember what hash each PUT signs as that of its body,
// and answer some of them itself.
func payloads(m *middleman, instead func(w http.ResponseWriter, payload string) bool) *[]string {
	seen := &[]string{}
	m.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		payload := r.Header.Get("X-Amz-Content-Sha256")
		*seen = append(*seen, payload)
		return instead != nil && instead(w, payload)
	}
	return seen
}

// text is the i-th page that a test puts, and the hash of its bytes.
func text(t *testing.T, i int) (body layout.Body, sum string) {
	t.Helper()
	body = layout.Bytes(fmt.Appendf(nil, "page %d", i))
	h, err := hash(body, 0, body.Size())
	if err != nil {
		t.Fatal(err)
	}
	return body, hex.EncodeToString(h[:])
}

func sums(t *testing.T, n int) (all []string) {
	for i := range n {
		_, sum := text(t, i)
		all = append(all, sum)
	}
	return all
}

func putPages(t *testing.T, b *Bucket, n int) {
	t.Helper()
	for i := range n {
		body, _ := text(t, i)
		if err := b.Put(t.Context(), "index.html", body, layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPayload: a store that shows that it knows of checksums is told the hash
// once, and refuses wrong bytes nevertheless.
func TestPayload(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	seen := payloads(m, nil)
	putPages(t, b, 3)
	if diff := cmp.Diff([]string{sums(t, 1)[0], noPayload, noPayload}, *seen); diff != "" {
		t.Errorf("hashes of bodies (-want +got):\n%s", diff)
	}
	want(t, b, "index.html", []byte("page 2"))
	*seen = nil
	key := narOf([]byte("these"))
	if err := b.Put(t.Context(), key, layout.Bytes([]byte("those")), layout.PutOptions{IfAbsent: true}); err == nil {
		t.Error("Put of other bytes than the name promises succeeded")
	}
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	if diff := cmp.Diff([]string{noPayload}, *seen); diff != "" {
		t.Errorf("hashes of wrong bodies (-want +got):\n%s", diff)
	}
}

// TestPayloadUnknown: a store that says nothing of checksums may not know them.
func TestPayloadUnknown(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	seen := payloads(m, func(w http.ResponseWriter, _ string) bool {
		w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		return true
	})
	putPages(t, b, 3)
	if diff := cmp.Diff(sums(t, 3), *seen); diff != "" {
		t.Errorf("hashes of bodies (-want +got):\n%s", diff)
	}
}

// TestPayloadWanted: a store may allow signed bodies alone.
func TestPayloadWanted(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	seen := payloads(m, func(w http.ResponseWriter, payload string) bool {
		if payload == noPayload {
			answer(w, http.StatusForbidden, "AccessDenied")
		}
		return payload == noPayload
	})
	putPages(t, b, 4)
	all := sums(t, 4)
	if diff := cmp.Diff([]string{all[0], noPayload, all[1], all[2], all[3]}, *seen); diff != "" {
		t.Errorf("hashes of bodies (-want +got):\n%s", diff)
	}
	want(t, b, "index.html", []byte("page 3"))
}

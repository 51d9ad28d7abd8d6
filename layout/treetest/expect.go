package treetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// put stores or fails the test.
func put(t *testing.T, tree layout.Tree, key layout.Key, data []byte, opts layout.PutOptions) {
	t.Helper()
	if err := tree.Put(t.Context(), key, layout.Bytes(data), opts); err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
}

// want checks that Get, Stat and List agree on the object.
func want(t *testing.T, tree layout.Tree, key layout.Key, data []byte) {
	t.Helper()
	r, info, err := tree.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("Get %s = %d bytes %.40q, want %d bytes %.40q", key, len(got), got, len(data), data)
	}
	st, err := tree.Stat(t.Context(), key)
	if err != nil {
		t.Fatalf("Stat %s: %v", key, err)
	}
	if st.Key != key || st.Size != int64(len(data)) || st.ETag == "" {
		t.Errorf("Stat %s = %+v, want %d bytes and an ETag", key, st, len(data))
	}
	if info.Key != key || info.Size != st.Size || info.ETag != st.ETag || !info.ModTime.Equal(st.ModTime) {
		t.Errorf("Get says %+v, Stat %+v", info, st)
	}
	for listed, err := range tree.List(t.Context(), string(key)) {
		if err != nil {
			t.Fatalf("List %s: %v", key, err)
		}
		if listed.Key == key && (listed.Size != st.Size || listed.ETag != "" && listed.ETag != st.ETag) {
			t.Errorf("List says %+v, Stat %+v", listed, st)
		}
	}
}

func wantAbsent(t *testing.T, tree layout.Tree, key layout.Key) {
	t.Helper()
	if r, _, err := tree.Get(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get %s: %v, want fs.ErrNotExist", key, err)
		if err == nil {
			r.Close()
		}
	}
	if _, err := tree.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat %s: %v, want fs.ErrNotExist", key, err)
	}
}

// list returns the keys with the prefix, and fails the test if they are not in
// ascending order.
func list(t *testing.T, tree layout.Tree, prefix string) []layout.Key {
	t.Helper()
	var keys []layout.Key
	for info, err := range tree.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		if n := len(keys); n > 0 && keys[n-1] >= info.Key {
			t.Errorf("List %q: %s comes after %s", prefix, info.Key, keys[n-1])
		}
		if !strings.HasPrefix(string(info.Key), prefix) {
			t.Errorf("List %q: has %s", prefix, info.Key)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// narKey names bytes the way a NAR is named.
func narKey(data []byte) layout.Key { return layout.NARKey(sha256.Sum256(data), "") }

func logKey(i int) layout.Key {
	return layout.Key(fmt.Sprintf("log/%032d-x.drv", i))
}

// pattern returns n bytes without a short period.
func pattern(n int64) []byte {
	b := make([]byte, n)
	endless{n}.ReadAt(b, 0)
	return b
}

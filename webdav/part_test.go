package webdav

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// ranging is a tree that can be asked for ranges, and remembers what it was
// asked for.
type ranging struct {
	*treetest.Mem
	asked []string
	fail  error // of OpenRange
	short bool  // bodies end too early
}

func (r *ranging) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	r.asked = append(r.asked, "get")
	return r.Mem.Get(ctx, key)
}

func (r *ranging) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	r.asked = append(r.asked, "stat")
	return r.Mem.Stat(ctx, key)
}

func (r *ranging) OpenRange(ctx context.Context, info layout.Info, from, to int64) (io.ReadCloser, error) {
	r.asked = append(r.asked, fmt.Sprintf("%d-%d", from, to))
	if r.fail != nil {
		return nil, r.fail
	}
	body, now, err := r.Mem.Get(ctx, info.Key)
	if err != nil || now.ETag != info.ETag {
		return nil, errors.Join(err, layout.ErrChanged)
	}
	text, err := io.ReadAll(body)
	if r.short {
		to--
	}
	return io.NopCloser(bytes.NewReader(text[from:to])), err
}

// aNAR returns a rig's only NAR: its path and its bytes.
func aNAR(t *testing.T, mem *treetest.Mem) (string, []byte) {
	t.Helper()
	treetest.Populate(t, mem)
	keys := mem.Keys()
	key := keys[slices.IndexFunc(keys, func(k layout.Key) bool { return k.Kind() == layout.KindNAR })]
	text, err := layout.ReadAll(t.Context(), mem, key)
	if err != nil {
		t.Fatal(err)
	}
	return "/" + string(key), text
}

// TestParts: of a tree where bytes cost, no more is asked than is wanted.
func TestParts(t *testing.T) {
	tree := &ranging{Mem: treetest.NewMem(t)}
	path, text := aNAR(t, tree.Mem)
	h := New(Config{Tree: tree, Auth: AllowAll, Log: quiet})
	size := len(text)
	end := fmt.Sprint(size)
	etag := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("HEAD", path, nil))
		return w.Header().Get("ETag")
	}()
	for _, c := range []struct {
		header string
		status int
		body   []byte
		asked  []string
	}{
		{"", 200, text, []string{"get"}},
		{"Range: bytes=10-19", 206, text[10:20], []string{"stat", "10-20"}},
		{"Range: bytes=10-", 206, text[10:], []string{"stat", "10-" + end}},
		{"Range: bytes=10-999999999", 206, text[10:], []string{"stat", "10-" + end}},
		{"Range: bytes=-10", 206, text[size-10:], []string{"stat", fmt.Sprintf("%d-%s", size-10, end)}},
		{"Range: bytes=999999999-", 416, nil, []string{"stat"}},
		{"Range: bytes=0-0,5-6", 200, text, []string{"stat", "0-" + end}},
		{"Range: nonsense", 416, nil, []string{"stat"}},
		{"If-None-Match: " + etag, 304, nil, []string{"stat"}},
		{`If-None-Match: "other"`, 200, text, []string{"stat", "0-" + end}},
		{`If-Match: "other"`, 412, nil, []string{"stat"}},
		// The client has another version: it gets all of this one.
		{"Range: bytes=10-19\nIf-Range: \"other\"", 200, text, []string{"stat", "0-20", "20-" + end}},
	} {
		r := httptest.NewRequest("GET", path, nil)
		for line := range strings.Lines(c.header) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			r.Header.Set(name, value)
		}
		tree.asked = nil
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || c.body != nil && !bytes.Equal(w.Body.Bytes(), c.body) {
			t.Errorf("%q: %d with %d bytes, want %d with %d", c.header, w.Code, w.Body.Len(), c.status, len(c.body))
		}
		if diff := cmp.Diff(c.asked, tree.asked); diff != "" {
			t.Errorf("%q asks the tree (-want +got):\n%s", c.header, diff)
		}
	}
	for _, broken := range []*ranging{{Mem: tree.Mem, fail: layout.ErrChanged}, {Mem: tree.Mem, short: true}} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Range", "bytes=10-19")
		func() {
			defer func() {
				if recover() != http.ErrAbortHandler {
					t.Error("a client may take a part for what it asked for")
				}
			}()
			New(Config{Tree: broken, Log: quiet}).ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
}

// A request for very many parts gets the whole: a small one costs neither a large answer
// nor as many seeks.
func TestManyRanges(t *testing.T) {
	r, paths := populated(t)
	desktop := "/upload/._x"
	r.do(t, "PUT", desktop, strings.NewReader(strings.Repeat("x", 1000)))
	for _, path := range []string{"/nix-cache-info", "/" + string(layout.NarInfoKey(paths.Named("app").Info.Path)), "/upload/nix-cache-info", desktop} {
		whole := r.do(t, "GET", path, nil)
		for n, want := range map[int]int{2: 206, maxRanges: 206, maxRanges + 1: 200, 3000: 200} {
			got := r.do(t, "GET", path, nil, "Range: bytes=0-0"+strings.Repeat(",2-2", n-1))
			if path == desktop && got.Status != want || want == 200 && got.Body != whole.Body {
				t.Errorf("GET %s, %d ranges: %d, %d bytes; the whole has %d", path, n, got.Status, len(got.Body), len(whole.Body))
			}
		}
	}
}

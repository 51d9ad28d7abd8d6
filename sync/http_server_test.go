package sync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

const (
	testNAR     layout.Key = "nar/1a4n8qcdbqgwxc88b9bdfayrv11z632cdf4f1ibyd04cr748ifx4.nar.zst"
	testNarInfo layout.Key = "6d40jqh1x45qpwz1li3xa10n8hfhxdk9.narinfo"
)

// A webServer is a server that does what a test tells it, and remembers what
// it was asked.
type webServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

func serve(t *testing.T, handler http.HandlerFunc) *webServer {
	t.Helper()
	s := &webServer{}
	s.Server = httptest.NewServer(s.record(handler))
	t.Cleanup(s.Close)
	return s
}

func (s *webServer) record(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Clone(context.Background()))
		s.mu.Unlock()
		handler(w, r)
	}
}

func (s *webServer) asked() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// inTurn answers the first request with the first handler and so on; the last
// handler answers the rest.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[0]
		if len(handlers) > 1 {
			handlers = handlers[1:]
		}
		mu.Unlock()
		h(w, r)
	}
}

func status(code int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// file serves data as good servers do: with ranges, and with this ETag.
func file(data []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// cutOff serves the answer of another handler and closes the connection after n
// bytes of its body.
func cutOff(n int, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(&cutWriter{w, n}, r)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(c.left, len(p))])
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// openHTTP opens a cache that waits for nothing. The pauses it would have made
// are appended to the result.
func openHTTP(t *testing.T, url string, o HTTPOptions) (*HTTP, *[]time.Duration) {
	t.Helper()
	if o.Netrc == "" {
		o.Netrc = os.DevNull
	}
	h, err := OpenHTTP(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	var mu sync.Mutex
	pauses := &[]time.Duration{}
	h.sleep = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		*pauses = append(*pauses, d)
		return ctx.Err()
	}
	return h, pauses
}

func get(ctx context.Context, r layout.Reader, key layout.Key) ([]byte, error) {
	body, _, err := r.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

// noise returns n bytes without a pattern, always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// wantError checks that err says all of parts, and nothing of a password.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %q shows the password", err)
	}
}

// treeServer serves a tree in memory, faultlessly.
func treeServer(tree *treetest.Mem) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, err := layout.ParseKey(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		data, err := get(r.Context(), tree, key)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", key.ContentType())
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		file(data, "")(w, r)
	}
}

// noCredentials is an empty netrc that is not the user's own.
func noCredentials(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func zstdBytes(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(data, nil)
}

//go:build real

package s3

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/minio"
)

// server is a MinIO that all tests share, each with buckets of its own.
var server minio.Server

func init() { launch = launchServer }

func launchServer() (stop func(), err error) {
	if server, stop, err = minio.Launch(1); err != nil {
		return nil, err
	}
	os.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	os.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	return stop, nil
}

// create makes the bucket and opens it.
func create(t *testing.T, loc Location) *Bucket {
	t.Helper()
	b := connected(t, loc)
	if _, err := b.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return b
}

// A middleman stands between a Bucket and the server, counts, and does harm.
type middleman struct {
	URL string

	mu       sync.Mutex
	requests []string
	harm     func(n int, r *http.Request) harm // n counts the requests from 1
	instead  func(w http.ResponseWriter, r *http.Request) bool
}

// harm is what befalls a request.
type harm int

const (
	none       harm = iota
	dropBefore      // the connection ends, and nothing happens
	dropAfter       // it happens, and the connection ends before the answer
	slowDown        // 503 SlowDown, and nothing happens
	internal        // 500, though it happened
	cutBody         // half of the answer's body
	slow            // the answer comes late
	notForUs        // 501 to every condition of a write
)

// between starts a middleman in front of an endpoint.
func between(t *testing.T, endpoint string) *middleman {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{}
	// The host is signed: the server is told the one that the client meant.
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { panic(http.ErrAbortHandler) },
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := m.count(r)
		if m.instead != nil && m.instead(w, r) {
			return
		}
		switch what {
		case none:
			proxy.ServeHTTP(w, r)
		case dropBefore:
			panic(http.ErrAbortHandler)
		case dropAfter:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case internal:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			answer(w, 500, "InternalError")
		case slowDown:
			io.Copy(io.Discard, r.Body)
			answer(w, 503, "SlowDown")
		case cutBody:
			rec := httptest.NewRecorder()
			proxy.ServeHTTP(rec, r)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(rec.Code)
			w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case slow:
			time.Sleep(300 * time.Millisecond)
			proxy.ServeHTTP(w, r)
		case notForUs:
			if r.Method != http.MethodGet && r.Header.Get("If-Match")+r.Header.Get("If-None-Match") != "" {
				answer(w, 501, "NotImplemented")
				return
			}
			proxy.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.Start()
	t.Cleanup(s.Close)
	m.URL = s.URL
	return m
}

func answer(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>says the test.</Message></Error>", code)
}

func (m *middleman) count(r *http.Request) harm {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := r.Method
	for _, name := range []string{"list-type", "uploads", "uploadId", "partNumber", "policy", "lifecycle"} {
		if r.URL.Query().Has(name) {
			what += " " + name
		}
	}
	m.requests = append(m.requests, what)
	if m.harm == nil {
		return none
	}
	return m.harm(len(m.requests), r)
}

// plan says what is to happen from now on, and forgets what was counted.
func (m *middleman) plan(harm func(n int, r *http.Request) harm) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests, m.harm = nil, harm
}

// counted returns the requests since the last time, sorted.
func (m *middleman) counted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.requests
	m.requests = nil
	slices.Sort(got)
	return got
}

// nth does harm to one request alone.
func nth(at int, h harm) func(int, *http.Request) harm {
	return func(n int, _ *http.Request) harm {
		if n == at {
			return h
		}
		return none
	}
}

// narOf names bytes the way a NAR is named.
func narOf(data []byte) layout.Key { return layout.NARKey(sha256.Sum256(data), ".zst") }

func put(t *testing.T, b *Bucket, key layout.Key, data []byte, opts layout.PutOptions) {
	t.Helper()
	if err := b.Put(t.Context(), key, layout.Bytes(data), opts); err != nil {
		t.Fatal(err)
	}
}

// pseudorandom returns bytes that nothing compresses.
func pseudorandom(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

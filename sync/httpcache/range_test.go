package httpcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A part is asked for by a Range, of the version that was described; a server that
// knows no parts gives the whole, and the same bytes come out.
func TestOpenRange(t *testing.T) {
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	key := layout.NARKey(layout.Hash{1}, ".zst")
	var asked atomic.Pointer[string]
	// An answer that the client left half-way may be sent for a while yet.
	var sent atomic.Pointer[atomic.Int64]
	sent.Store(new(atomic.Int64))
	deaf, etag, gone, breaks := false, `"v1"`, false, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.Header.Get("Range")
		asked.Store(&text)
		if gone {
			http.NotFound(w, r)
			return
		}
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		if deaf {
			r.Header.Del("Range")
		}
		out := io.Writer(w)
		if breaks > 0 && r.Method == http.MethodGet {
			breaks--
			out = &breaking{w, 10}
		}
		http.ServeContent(&through{w, &counting{out, sent.Load()}}, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	h, err := Open(server.URL, Options{RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	info, err := h.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	read := func(from, to int64) ([]byte, error) {
		var all [2][]byte
		for i := range all {
			var body io.ReadCloser
			var err error
			if i == 0 {
				body, err = h.OpenRange(t.Context(), info, from, to)
			} else {
				body, err = h.OpenURLRange(t.Context(), string(key), int64(len(data)), from, to)
			}
			if err != nil {
				return nil, err
			}
			all[i], err = io.ReadAll(body)
			body.Close()
			if err != nil {
				return nil, err
			}
		}
		if !bytes.Equal(all[0], all[1]) {
			return nil, errors.New("the URL gives other bytes than the key")
		}
		return all[0], nil
	}
	for _, deaf = range []bool{false, true} {
		for _, etag = range []string{`"v1"`, "", `W/"v1"`} {
			for _, c := range [][2]int64{{0, 1}, {0, 100_000}, {5, 10}, {99_999, 100_000}, {7, 7}, {40_000, 90_000}} {
				got, err := read(c[0], c[1])
				if err != nil || !bytes.Equal(got, data[c[0]:c[1]]) {
					t.Errorf("deaf %v, etag %s: [%d, %d): %d bytes, %v", deaf, etag, c[0], c[1], len(got), err)
				}
			}
		}
	}
	deaf, etag = false, `"v1"`
	sent.Store(new(atomic.Int64))
	if _, err := read(99_000, 99_100); err != nil || *asked.Load() != "GET bytes=99000-99099" || sent.Load().Load() != 200 {
		t.Errorf("asked for %q, was sent %d bytes, %v", *asked.Load(), sent.Load().Load(), err)
	}
	breaks = 3
	if got, err := read(50_000, 60_000); err != nil || !bytes.Equal(got, data[50_000:60_000]) {
		t.Errorf("after broken answers: %v", err)
	}
	for _, c := range [][2]int64{{-1, 5}, {5, 4}, {0, 100_001}} {
		if _, err := read(c[0], c[1]); err == nil {
			t.Errorf("[%d, %d) can be read", c[0], c[1])
		}
	}
	if _, err := h.OpenURLRange(t.Context(), "ftp://elsewhere/x", 10, 1, 2); err == nil {
		t.Error("a part by FTP")
	}
	gone = true
	if _, err := read(1, 2); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), server.URL) {
		t.Errorf("where there is nothing: %v", err)
	}
}

// A part of a mutable object is of the version that was described, or an error.
func TestOpenRangeChanged(t *testing.T) {
	version := 1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, version))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(fmt.Sprintf("version %d of it", version)))
	}))
	defer server.Close()
	h, err := Open(server.URL, Options{RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	info, err := h.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	version = 2
	if body, err := h.OpenRange(t.Context(), info, 8, 9); !errors.Is(err, layout.ErrChanged) {
		if err == nil {
			got, readErr := io.ReadAll(body)
			t.Errorf("read %q, %v of another version", got, readErr)
		} else {
			t.Errorf("got %v, want ErrChanged", err)
		}
	}
}

// through sends the body another way than the header.
type through struct {
	http.ResponseWriter
	body io.Writer
}

func (t *through) Write(p []byte) (int, error) { return t.body.Write(p) }

type counting struct {
	io.Writer
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.Writer.Write(p)
}

// A breaking writer ends the connection after so many bytes.
type breaking struct {
	w    http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.w.Write(p[:b.left])
		b.w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.w.Write(p)
}

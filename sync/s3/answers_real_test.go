//go:build real

package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// TestWrongAnswers: a store that is asked for the rest of a body, and answers
// otherwise, is asked for the whole. The bytes are right in the end.
func TestWrongAnswers(t *testing.T) {
	m := between(t, server.Endpoint)
	loc := location(t, m.URL)
	loc.Attempts = 4
	b := create(t, loc)
	data := append(pseudorandom(1<<20), bytes.Repeat([]byte("text "), 2*mib)...)
	size := len(data)
	half := size / 2
	nar, page := narOf(data), layout.Key("index.html")
	put(t, b, nar, data, layout.PutOptions{})
	put(t, b, page, data, layout.PutOptions{})
	// give answers as the store would, but for what is changed.
	give := func(w http.ResponseWriter, etag string, status int, body []byte, headers ...string) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		w.Write(body)
	}
	rest := fmt.Sprintf("bytes %d-%d/%d", half, size-1, size)
	for name, wrong := range map[string]func(w http.ResponseWriter, etag string){
		"the whole with 200": func(w http.ResponseWriter, etag string) { give(w, etag, 200, data) },
		"a part with 200":    func(w http.ResponseWriter, etag string) { give(w, etag, 200, data[half:], "Content-Range", rest) },
		"the whole with 206": func(w http.ResponseWriter, etag string) { give(w, etag, 206, data, "Content-Range", rest) },
		"another range": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, data[:10], "Content-Range", fmt.Sprintf("bytes 0-9/%d", size))
		},
		"a range behind": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, data[half+1:], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", half+1, size-1, size))
		},
		"a range that is none": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, data[half:], "Content-Range", "bytes */9")
		},
		"a range of less": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, data[half:half+9], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, half+8, size))
		},
		"fewer bytes than it says": func(w http.ResponseWriter, etag string) { give(w, etag, 206, data[half+9:], "Content-Range", rest) },
		"several ranges": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, []byte("--x"), "Content-Type", "multipart/byteranges; boundary=x")
		},
		"no such range":        func(w http.ResponseWriter, etag string) { answer(w, 416, "InvalidRange") },
		"not with a condition": func(w http.ResponseWriter, etag string) { answer(w, 501, "NotImplemented") },
		"a web page": func(w http.ResponseWriter, etag string) {
			give(w, "", 200, []byte("<!doctype html>log in"), "Content-Type", "text/html")
		},
		"a web page without a date":   func(w http.ResponseWriter, etag string) { io.WriteString(w, "<!doctype html>log in") },
		"a web page as large":         func(w http.ResponseWriter, etag string) { give(w, "", 200, append([]byte("<html>"), data[6:]...)) },
		"too much asked":              func(w http.ResponseWriter, etag string) { answer(w, 503, "SlowDown") },
		"another coding":              func(w http.ResponseWriter, etag string) { give(w, etag, 200, data, "Content-Encoding", "gzip") },
		"without a version":           func(w http.ResponseWriter, etag string) { give(w, "", 206, data[half:], "Content-Range", rest) },
		"a date that is none, of old": func(w http.ResponseWriter, etag string) { give(w, etag, 200, data, "Expires", "0") },
		"a version that is one in quotes": func(w http.ResponseWriter, etag string) {
			give(w, etag[1:len(etag)-1], 206, data[half:], "Content-Range", rest)
		},
	} {
		for _, key := range []layout.Key{nar, page} {
			m.plan(nth(1, cutBody))
			info, err := b.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			m.instead = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet {
					return false
				}
				asked++
				if asked != 2 {
					return false
				}
				wrong(w, `"`+info.ETag+`"`)
				return true
			}
			m.plan(nth(1, cutBody))
			t.Run(name+", "+key.Kind().String(), func(t *testing.T) { want(t, b, key, data) })
			if asked < 2 {
				t.Fatalf("%s: asked %d times: the test shows nothing", name, asked)
			}
			m.instead = nil
		}
	}
	// A lasting fault is an error, and not some bytes.
	for name, wrong := range map[string]func(w http.ResponseWriter, etag string){
		"another range": func(w http.ResponseWriter, etag string) {
			give(w, etag, 206, data[:half], "Content-Range", fmt.Sprintf("bytes 1-%d/%d", half, size))
		},
		"other bytes": func(w http.ResponseWriter, etag string) { give(w, etag, 200, bytes.ToUpper(data)) },
		"more bytes":  func(w http.ResponseWriter, etag string) { give(w, etag, 200, append(data[:size:size], "more"...)) },
	} {
		for _, key := range []layout.Key{nar, page} {
			info, err := b.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			m.instead = func(w http.ResponseWriter, r *http.Request) bool {
				if asked++; asked > 1 {
					wrong(w, `"`+info.ETag+`"`)
				}
				return asked > 1
			}
			m.plan(nth(1, cutBody))
			if got, err := layout.ReadAll(t.Context(), b, key); err == nil {
				t.Errorf("%s: %d bytes", name, len(got))
			}
			m.instead = nil
		}
	}
	// Another version of what may change is never taken, one of a NAR is.
	for key, changed := range map[layout.Key]bool{nar: false, page: true} {
		m.plan(nth(1, cutBody))
		asked := 0
		m.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if asked++; asked > 1 {
				give(w, `"0123456789abcdef0123456789abcdef"`, 200, data)
			}
			return asked > 1
		}
		_, err := layout.ReadAll(t.Context(), b, key)
		if errors.Is(err, layout.ErrChanged) != changed || (err != nil) != changed {
			t.Errorf("another version of %s: %v", key, err)
		}
		m.instead = nil
	}
}

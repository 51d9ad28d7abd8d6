package httpcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// ranges returns what each request asked for.
func ranges(s *webtest.Server) (list []string) {
	for _, r := range s.Asked() {
		list = append(list, r.Header.Get("Range"))
	}
	return list
}

// unranged serves data like a server that knows no ranges.
func unranged(data []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		webtest.File(data, etag)(w, r)
	}
}

// TestHTTPResume breaks off answers in the middle.
func TestHTTPResume(t *testing.T) {
	data := webtest.Noise(200_000)
	other := append([]byte{'!'}, data...)
	const listing layout.Key = "6d40jqh1x45qpwz1li3xa10n8hfhxdk9.ls"
	for _, test := range []struct {
		name    string
		key     layout.Key
		answers []http.HandlerFunc
		ranges  string // of all requests
		ifRange string // of the second request
		fails   string
	}{
		{"by range", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.File(data, `"v1"`)},
			"|bytes=50000-", `"v1"`, ""},
		{"several times", testNAR,
			[]http.HandlerFunc{webtest.CutOff(1000, webtest.File(data, `"v1"`)), webtest.CutOff(1000, webtest.File(data, `"v1"`)), webtest.CutOff(1, webtest.File(data, `"v1"`)), webtest.File(data, `"v1"`)},
			"|bytes=1000-|bytes=2000-|bytes=2001-", `"v1"`, ""},
		{"no versions", testNAR, // the NAR's hash is known
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(data, "")},
			"|bytes=50000-", "", ""},
		{"no ranges", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, unranged(data, "")), webtest.CutOff(70_000, unranged(data, "")), unranged(data, "")},
			"|bytes=50000-|bytes=70000-", "", ""},
		{"no ranges, broken off before", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, unranged(data, "")), webtest.CutOff(20_000, unranged(data, "")), unranged(data, "")},
			"|bytes=50000-|bytes=50000-", "", ""},
		{"another server, another version", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.File(data, `"v2"`)},
			"|bytes=50000-", `"v1"`, ""},
		{"a fault in between", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.Status(503, ""), webtest.File(data, `"v1"`)},
			"|bytes=50000-|bytes=50000-", `"v1"`, ""},
		{"listing with version", listing,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.File(data, `"v1"`)},
			"|bytes=50000-", `"v1"`, ""},
		{"listing without version", listing, // the beginning is compared
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(data, "")},
			"|", "", ""},
		{"listing with a weak version", listing,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `W/"v1"`)), webtest.File(data, `W/"v1"`)},
			"|", "", ""},
		{"listing that begins otherwise", listing,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(other[:200_000], "")},
			"||||", "", "begins otherwise"},
		{"listing changed", listing,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.File(data, `"v2"`)},
			"|bytes=50000-", `"v1"`, "changed while it was read"},
		{"size changed", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(other, "")},
			"|bytes=50000-|||", "", "changed while it was read: 200001 bytes by now, not 200000 (attempt 5 of 5)"},
		{"size changed for once", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(other, ""), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"gone", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(404, "")},
			"|bytes=50000-", "", "404 Not Found"},
		{"shorter by now", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.File(data[:40_000], "")},
			"|bytes=50000-|||", "", "40000 bytes by now, not 200000 (attempt 5 of 5)"},
		{"no such range", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(416, ""), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"a web page in between", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.Status(200, "<!doctype html>log in"), webtest.File(data, `"v1"`)},
			"|bytes=50000-|", `"v1"`, ""},
		{"a web page of the same size", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, `"v1"`)), webtest.Status(200, "<html>"+strings.Repeat(" ", 200_000-6)), webtest.File(data, `"v1"`)},
			"|bytes=50000-|", `"v1"`, ""},
		{"wrong range", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, "xyz", "Content-Range", "bytes 10-12/200000"), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"wrong range whatever is asked", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, "xyz", "Content-Range", "bytes 10-12/200000")},
			"|bytes=50000-|||", "", `was given "bytes 10-12/200000"`},
		{"a part that does not say which", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, string(data[50_000:])), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"several parts", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, "--x\r\n", "Content-Type", "multipart/byteranges; boundary=x", "Content-Range", "bytes 50000-50005/200000"), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"a part with 200", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(200, string(data[50_000:]), "Content-Range", "bytes 50000-199999/200000", "Content-Length", "150000")},
			"|bytes=50000-", "", ""},
		{"the whole with 200 and a range", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(200, string(data), "Content-Range", "bytes 50000-199999/200000", "Content-Length", "200000")},
			"|bytes=50000-", "", ""},
		{"the whole with 200, a range and no length", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(200, string(data), "Content-Range", "bytes 50000-199999/200000"), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"fewer bytes than asked for", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, string(data[50_000:90_000]), "Content-Range", "bytes 50000-89999/200000", "Content-Length", "40000"), webtest.File(data, "")},
			"|bytes=50000-|bytes=90000-", "", ""},
		{"more bytes than it says", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), webtest.Status(206, string(data[50_000:]), "Content-Range", "bytes 50000-89999/200000", "Content-Length", "150000"), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"a part for a whole at first", testNAR,
			[]http.HandlerFunc{webtest.Status(200, string(data[:1000]), "Content-Range", "bytes 0-999/200000", "Content-Length", "1000"), webtest.File(data, "")},
			"|", "", ""},
		{"another coding by now", testNAR,
			[]http.HandlerFunc{webtest.CutOff(50_000, webtest.File(data, "")), encodedAs("gzip", webtest.File(data, "")), webtest.File(data, "")},
			"|bytes=50000-|", "", ""},
		{"never comes to an end", testNAR,
			[]http.HandlerFunc{webtest.CutOff(1000, webtest.File(data, ""))},
			"|bytes=1000-|bytes=2000-|bytes=3000-|", "", "(attempt 5 of 5)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := webtest.Serve(t, webtest.InTurn(test.answers...))
			h, _ := openHTTP(t, s.URL, Options{})
			got, err := webtest.Get(t.Context(), h, test.key)
			if test.fails != "" {
				webtest.WantError(t, err, test.fails, s.URL)
			} else if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, equal %v, %v", len(got), bytes.Equal(got, data), err)
			}
			if ranges := strings.Join(ranges(s), "|"); ranges != test.ranges {
				t.Errorf("asked for %q, want %q", ranges, test.ranges)
			}
			if asked := s.Asked(); len(asked) > 1 && asked[1].Header.Get("If-Range") != test.ifRange {
				t.Errorf("If-Range %q, want %q", asked[1].Header.Get("If-Range"), test.ifRange)
			}
		})
	}
}

// TestHTTPResumeGoesOn shows that many failures are fine if each brought the
// download forward.
func TestHTTPResumeGoesOn(t *testing.T) {
	data := webtest.Noise(20 << 20)
	s := webtest.Serve(t, webtest.CutOff(2<<20, webtest.File(data, `"v1"`)))
	h, pauses := openHTTP(t, s.URL, Options{})
	got, err := webtest.Get(t.Context(), h, testNAR)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if len(*pauses) < 9 {
		t.Errorf("only %d interruptions", len(*pauses))
	}
}

// TestHTTPResumeEncoded breaks off below a decoder.
func TestHTTPResumeEncoded(t *testing.T) {
	text := bytes.Repeat([]byte("some log line\n"), 10_000)
	z := zstdBytes(t, append(text, webtest.Noise(100_000)...))
	s := webtest.Serve(t, webtest.InTurn(
		webtest.CutOff(60_000, encodedAs("zstd", webtest.File(z, `"v1"`))),
		encodedAs("zstd", webtest.File(z, `"v1"`))))
	h, _ := openHTTP(t, s.URL, Options{})
	got, err := webtest.Get(t.Context(), h, "log/6d40jqh1x45qpwz1li3xa10n8hfhxdk9-x.drv")
	if err != nil || len(got) != len(text)+100_000 || !bytes.HasPrefix(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if r := ranges(s); len(r) != 2 || r[1] != "bytes=60000-" {
		t.Errorf("asked for %q", r)
	}
}

func encodedAs(coding string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", coding)
		h(w, r)
	}
}

// TestHTTPStall has a server that falls silent, before the answer and in it.
func TestHTTPStall(t *testing.T) {
	data := webtest.Noise(100_000)
	silent := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	halfway := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, faults := range map[string]http.HandlerFunc{"before the answer": silent, "in the answer": halfway} {
		t.Run(name, func(t *testing.T) {
			s := webtest.Serve(t, webtest.InTurn(faults, webtest.File(data, "")))
			h, pauses := openHTTP(t, s.URL, Options{Stall: 100 * time.Millisecond, Attempts: 100})
			got, err := webtest.Get(t.Context(), h, testNAR)
			if err != nil || !bytes.Equal(got, data) || len(*pauses) == 0 {
				t.Errorf("%d bytes, %v, %d pauses", len(got), err, len(*pauses))
			}
		})
	}
	s := webtest.Serve(t, halfway)
	h, _ := openHTTP(t, s.URL, Options{Stall: 50 * time.Millisecond, Attempts: 2})
	_, err := webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "nothing came for 50ms", "(attempt 2 of 2)")
}

// TestHTTPSlowReader shows that only the server's silence counts.
func TestHTTPSlowReader(t *testing.T) {
	data := webtest.Noise(4 << 20)
	s := webtest.Serve(t, webtest.File(data, ""))
	const stall = 100 * time.Millisecond
	h, pauses := openHTTP(t, s.URL, Options{Stall: stall, Attempts: 100})
	body, _, err := h.Get(t.Context(), testNAR)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * stall)
	if n, err := io.Copy(io.Discard, body); err != nil || n != int64(len(data))-1000 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if len(*pauses) > 0 || len(s.Asked()) > 1 {
		t.Errorf("given up while nobody read: %d pauses", len(*pauses))
	}
}

func TestHTTPReadAfterClose(t *testing.T) {
	s := webtest.Serve(t, webtest.File(webtest.Noise(100_000), ""))
	h, _ := openHTTP(t, s.URL, Options{})
	body, _, err := h.Get(t.Context(), testNAR)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(body.Close(), body.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Error("read after close succeeded")
	}
}

// TestHTTPReusesConnections counts them: a new one for each narinfo would cost
// more than the narinfo.
func TestHTTPReusesConnections(t *testing.T) {
	s := webtest.Serve(t, webtest.File([]byte("x"), ""))
	h, _ := openHTTP(t, s.URL, Options{})
	for range 20 {
		for _, key := range []layout.Key{testNarInfo, testNAR} {
			if _, err := webtest.Get(t.Context(), h, key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.Stat(t.Context(), testNAR); err != nil {
			t.Fatal(err)
		}
	}
	from := map[string]bool{}
	for _, r := range s.Asked() {
		from[r.RemoteAddr] = true
	}
	if len(from) != 1 {
		t.Errorf("60 requests over %d connections", len(from))
	}
}

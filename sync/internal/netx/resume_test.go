package netx

import (
	"fmt"
	"net/http"
	"testing"
)

func TestParseContentRange(t *testing.T) {
	for value, want := range map[string]string{
		"bytes 5-9/10":                  "5 9 10 true",
		"bytes 5-9/*":                   "5 9 -1 true",
		"":                              "0 0 0 false",
		"bytes */10":                    "0 0 0 false",
		"bytes 5-9":                     "0 0 0 false",
		"items 5-9/10":                  "0 0 0 false",
		"bytes -5-9/10":                 "0 0 0 false",
		"bytes +5-9/10":                 "0 0 0 false",
		"bytes 9-5/10":                  "0 0 0 false",
		"bytes 5-/10":                   "0 0 0 false",
		"bytes 5-10/10":                 "0 0 0 false",
		"bytes 12-14/10":                "0 0 0 false",
		"bytes 99999999999999999999-/":  "0 0 0 false",
		"bytes 0-9223372036854775808/*": "0 0 0 false",
	} {
		first, last, total, ok := parseContentRange(value)
		if got := fmt.Sprint(first, last, total, ok); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// FuzzAnswer: whatever headers say, the bytes that an answer is taken for lie in
// the object that it names.
func FuzzAnswer(f *testing.F) {
	f.Add("bytes 5-9/10", "text/plain", "gzip", int64(5))
	f.Add("bytes 0-9/*", "multipart/byteranges", "", int64(-1))
	f.Add("", "", "identity, br", int64(0))
	f.Fuzz(func(t *testing.T, span, kind, coding string, length int64) {
		h := http.Header{"Content-Range": {span}, "Content-Type": {kind}, "Content-Encoding": {coding}}
		r, err := readAnswer(&Answer{Header: h, Length: max(-1, length)})
		if err != nil {
			return
		}
		if r.first < 0 || r.length < -1 || r.size < -1 || r.size >= 0 && r.length >= 0 && r.first > r.size-r.length {
			t.Errorf("%q with %d bytes: %+v", span, length, r)
		}
	})
}

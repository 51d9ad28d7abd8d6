package httpcache

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/sync/webtest"
)

func TestHTTPRetries(t *testing.T) {
	text := "all is well\n"
	for _, test := range []struct {
		name   string
		faults []http.HandlerFunc
	}{
		{"503 then ok", []http.HandlerFunc{webtest.Status(503, "")}},
		{"four faults then ok", []http.HandlerFunc{webtest.Status(500, ""), webtest.Status(429, ""), webtest.Status(408, ""), webtest.Status(502, "")}},
		{"no answer", []http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}},
		{"narinfo breaks off", []http.HandlerFunc{webtest.CutOff(3, webtest.Status(200, text, "Content-Length", "12"))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := webtest.Serve(t, webtest.InTurn(append(test.faults, webtest.Status(200, text))...))
			h, pauses := openHTTP(t, s.URL, Options{})
			got, err := webtest.Get(t.Context(), h, testNarInfo)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
			if len(*pauses) != len(test.faults) || len(s.Asked()) != len(test.faults)+1 {
				t.Errorf("%d pauses and %d requests after %d faults", len(*pauses), len(s.Asked()), len(test.faults))
			}
		})
	}
}

func TestHTTPBackOff(t *testing.T) {
	for _, test := range []struct {
		name     string
		handler  http.HandlerFunc
		from, to []time.Duration
	}{
		{"doubles", webtest.Status(500, ""),
			[]time.Duration{125e6, 250e6, 500e6, 1e9}, []time.Duration{250e6, 500e6, 1e9, 2e9}},
		{"longer when asked too much", webtest.Status(503, ""),
			[]time.Duration{2.5e9, 5e9, 10e9, 20e9}, []time.Duration{5e9, 10e9, 20e9, 40e9}},
		{"as the server says", webtest.Status(429, "", "Retry-After", "7"),
			[]time.Duration{7e9, 7e9, 7e9, 7e9}, []time.Duration{7.25e9, 7.25e9, 7.25e9, 7.25e9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := webtest.Serve(t, test.handler)
			h, pauses := openHTTP(t, s.URL, Options{})
			_, err := webtest.Get(t.Context(), h, testNarInfo)
			webtest.WantError(t, err, "(attempt 5 of 5)")
			if len(*pauses) != len(test.from) {
				t.Fatalf("pauses %v", *pauses)
			}
			for i, p := range *pauses {
				if p < test.from[i] || p > test.to[i] {
					t.Errorf("pause %d is %v, want %v to %v", i+1, p, test.from[i], test.to[i])
				}
			}
		})
	}
	t.Run("not for an hour", func(t *testing.T) {
		s := webtest.Serve(t, webtest.Status(503, "", "Retry-After", "3600"))
		h, pauses := openHTTP(t, s.URL, Options{})
		_, err := webtest.Get(t.Context(), h, testNarInfo)
		webtest.WantError(t, err, "asked again after 1h0m0s")
		if len(*pauses) != 0 {
			t.Errorf("paused %v", *pauses)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		" 120 ":                         2 * time.Minute,
		"-5":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

func TestHTTPCancel(t *testing.T) {
	s := webtest.Serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	h, _ := openHTTP(t, s.URL, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := webtest.Get(ctx, h, testNarInfo); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if len(s.Asked()) > 1 {
		t.Error("asked again after the end")
	}
}

func TestHTTPConnectionErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	h, pauses := openHTTP(t, "http://"+address, Options{})
	_, err = webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "GET http://"+address, "connection refused", "(attempt 5 of 5)")
	if errors.Is(err, fs.ErrNotExist) || len(*pauses) != 4 {
		t.Errorf("a closed port: %v after %v", err, *pauses)
	}

	// A failure that will not pass is not tried again.
	plain := webtest.Serve(t, webtest.Status(200, ""))
	h, pauses = openHTTP(t, strings.Replace(plain.URL, "http:", "https:", 1), Options{})
	_, err = webtest.Get(t.Context(), h, testNarInfo)
	webtest.WantError(t, err, "https://")
	if len(*pauses) != 0 {
		t.Errorf("plain HTTP behind https: %d pauses", len(*pauses))
	}
}

// A pause that is longer than the patience of the reader is not made, and it learns how long
// the server wants it to be.
func TestPatience(t *testing.T) {
	for wait, pauses := range map[string]int{"1": 1, "20": 0} {
		s := webtest.Serve(t, webtest.Status(429, "", "Retry-After", wait))
		h, made := openHTTP(t, s.URL, Options{Attempts: 2, Patience: 3 * time.Second})
		_, err := webtest.Get(t.Context(), h, testNarInfo)
		webtest.WantError(t, err, "429")
		var busy interface{ AskedToWait() time.Duration }
		if !errors.As(err, &busy) || busy.AskedToWait().String() != wait+"s" {
			t.Errorf("Retry-After %s: %v", wait, err)
		}
		if len(*made) != pauses {
			t.Errorf("Retry-After %s: pauses %v", wait, *made)
		}
	}
}

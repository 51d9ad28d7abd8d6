package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/webdav"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "123": 123, "10B": 10, "1kB": 1000, "1 KiB": 1024, "1.5GiB": 3 << 29, "64G": 64 << 30, "2 TB": 2e12,
		"": -1, "GiB": -1, "1XB": -1, "-1": -1, "1e30": -1, "nan": -1, "inf": -1, "1 Gi B": -1, "9EB": -1,
	} {
		got, err := parseBytes(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseMinFree(t *testing.T) {
	d := disk(t.TempDir())
	total, err := d.total()
	if err != nil {
		t.Fatal(err)
	}
	if free, err := d.free(); err != nil || free == 0 || free > total {
		t.Errorf("%d bytes of %d are free, %v", free, total, err)
	}
	for text, want := range map[string]int64{
		"": min(1<<30, int64(total)/50), "100%": int64(total), "0": 0, "0%": 0, "50 %": int64(total) / 2, "2GiB": 2 << 30,
		"101%": -1, "-1%": -1, "nan%": -1, "much": -1,
	} {
		got, err := parseMinFree(text, d)
		if (err != nil) != (want < 0) || err == nil && math.Abs(float64(got-want)) > 1e6 {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := parseMinFree("", disk(t.TempDir()+"/none")); err == nil {
		t.Error("the disk of a directory that is not there has a size")
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "2w": 14 * day, "0.5d": 12 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "d": 0, "0d": 0, "-1d": 0, "90": 0, "1y": 0, "99999d": 0, "nand": 0, "infd": 0,
	} {
		got, err := parseDuration(text)
		if (err != nil) != (want == 0) || got != want {
			t.Errorf("%q is read as %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestPairKeys(t *testing.T) {
	const nixos = "https://cache.nixos.org"
	for _, test := range []struct {
		name             string
		urls, keys, want []string
	}{
		{"none", nil, nil, nil},
		{"the default", []string{nixos}, nil, []string{nixosKey}},
		{"the default with a slash", []string{nixos + "/"}, nil, []string{nixosKey}},
		{"another key for it", []string{nixos}, []string{"k"}, []string{"k"}},
		{"two keys of one", []string{"a"}, []string{"k", "l"}, []string{"k l"}},
		{"pairs", []string{"a", "b"}, []string{"k", "l"}, []string{"k", "l"}},
		{"pairs, the default among them", []string{"a", nixos, "b"}, []string{"k", "l"}, []string{"k", nixosKey, "l"}},
		{"two keys in one", []string{"a", "b"}, []string{"k m", "l"}, []string{"k m", "l"}},
	} {
		got, err := pairKeys(test.urls, test.keys)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	for name, test := range map[string][2][]string{
		"no key":        {{"a"}, nil},
		"too few":       {{"a", "b"}, {"k"}},
		"too many":      {{"a", "b"}, {"k", "l", "m"}},
		"no upstream":   {nil, {"k"}},
		"not the right": {{nixos, "a"}, nil},
	} {
		if got, err := pairKeys(test[0], test[1]); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type openToAll struct{ err error }

func (a openToAll) Authorize(*http.Request, webdav.Scope) (string, error) { return "", a.err }

// So many NARs are taken at once, others wait; records and strangers do not.
func TestTurnstile(t *testing.T) {
	turns := newTurnstile(openToAll{}, 2)
	turns.wait = time.Minute
	var inside, most atomic.Int32
	leave := make(chan struct{})
	h := turns.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := turns.Authorize(r, webdav.Upload); err != nil {
			var refused *webdav.AuthError
			if !errors.As(err, &refused) {
				return // the client left
			}
			w.WriteHeader(refused.Status)
			return
		}
		most.Store(max(most.Load(), inside.Add(1)))
		defer inside.Add(-1)
		if strings.Contains(r.URL.Path, "/nar/") {
			<-leave
		}
	}))
	ask := func(ctx context.Context, method, path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil).WithContext(ctx))
		return w.Code
	}
	done := make(chan int)
	for range 5 {
		go func() { done <- ask(t.Context(), "PUT", "/upload/nar/x.nar") }()
	}
	for inside.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	if got := ask(t.Context(), "PUT", "/upload/x.narinfo"); got != 200 {
		t.Errorf("a record waits for NARs: %d", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ask(ctx, "PUT", "/upload/nar/x.nar") // returns: whoever leaves does not wait
	strict := *turns
	strict.wait = time.Nanosecond
	r := httptest.NewRequest("PUT", "/upload/nar/x.nar", nil)
	r = r.WithContext(context.WithValue(r.Context(), placeKey{}, &place{}))
	var refused *webdav.AuthError
	if _, err := strict.Authorize(r, webdav.Upload); !errors.As(err, &refused) || refused.Status != 429 {
		t.Errorf("who waited too long: %v", err)
	}
	close(leave)
	for range 5 {
		if got := <-done; got != 200 {
			t.Errorf("status %d", got)
		}
	}
	if most.Load() > 3 || len(turns.places) != 0 { // two NARs and a record
		t.Errorf("%d at once, %d places not given back", most.Load(), len(turns.places))
	}
	stranger := newTurnstile(openToAll{&webdav.AuthError{Status: 401}}, 1)
	if _, err := stranger.Authorize(r, webdav.Upload); err == nil || len(stranger.places) != 0 {
		t.Error("a stranger takes a place")
	}
}

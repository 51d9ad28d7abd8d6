//go:build real

package prune_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// A middleman stands before the store, counts, and does harm.
type middleman struct {
	URL string

	mu     sync.Mutex
	asked  []string
	kill   func()                   // instead of cutting off; may be nil
	cutAt  int                      // from this request on the client is cut off; 0 for never
	passes bool                     // the request at which it is cut off reaches the store
	refuse func(*http.Request) bool // cuts off single requests; nil: none
}

func between(t *testing.T, endpoint string) *middleman {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{}
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, ErrorLog: quiet}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		what := r.Method
		for _, name := range []string{"list-type", "delete", "uploads"} {
			if r.URL.Query().Has(name) {
				what += " " + name
			}
		}
		m.asked = append(m.asked, what)
		n, cutAt := len(m.asked), m.cutAt
		m.mu.Unlock()
		switch {
		case m.refuse != nil && m.refuse(r):
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		case cutAt > 0 && n == cutAt && m.passes:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			if m.kill != nil {
				m.kill()
			}
			panic(http.ErrAbortHandler)
		case cutAt > 0 && n >= cutAt:
			if m.kill != nil {
				m.kill()
			}
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	m.URL = s.URL
	return m
}

// requests returns what was asked for since the last call.
func (m *middleman) requests() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := map[string]int{}
	for _, what := range m.asked {
		counts[what]++
	}
	m.asked = nil
	return counts
}

// A fault ends a run at a request, which reaches the store before or does not.
type fault struct {
	at     int
	passes bool
}

// everywhere ends runs at each of their requests, or at one in so many. The tree that
// each leaves is whole, and a later
// run ends the work.
func everywhere(t *testing.T, step int, run func(t *testing.T, bucket string, m *middleman) error) {
	server := start(t)
	try := func(t *testing.T, f fault) (requests int) {
		b, name := populate(t, server)
		m := between(t, server.Endpoint)
		collect(t, b, oneByOne(), 1)
		m.cutAt, m.passes = f.at, f.passes
		if err := run(t, name, m); f.at == 0 && err != nil {
			t.Errorf("the run: %v", err)
		}
		m.mu.Lock()
		requests = len(m.asked)
		m.mu.Unlock()
		check(t, b)
		if f.at == 0 {
			return requests
		}
		// The lease of the lock and of the sweep run out, in tests without the first.
		if err := b.Delete(t.Context(), layout.RunLeaseKey); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settled)
		for n := 0; n < 3 && len(names(t, b)) > 2; n++ {
			collect(t, b, oneByOne(), 1)
		}
		check(t, b)
		if there := names(t, b); len(there) != 2 || !there["lib"] {
			t.Errorf("in the end there are %v", there)
		}
		return requests
	}
	all := try(t, fault{})
	if all < 20 {
		t.Fatalf("a sweep makes %d requests", all)
	}
	slots := make(chan struct{}, 16)
	var wait sync.WaitGroup
	for at := 1; at <= all; at += step {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			t.Run(fmt.Sprint(at), func(t *testing.T) { try(t, fault{at, at%2 == 0}) })
		})
	}
	wait.Wait()
}

func oneByOne() gc.Options {
	o := options()
	o.Jobs = 1
	return o
}

// TestCutOff: a run that is cut off at any request leaves a tree that is whole.
func TestCutOff(t *testing.T) {
	everywhere(t, 9, func(t *testing.T, name string, m *middleman) error {
		_, err := gc.Collect(t.Context(), open(t, name, m.URL), oneByOne(), nil)
		return err
	})
}

// TestNothingToDo: a run with nothing to do lists the tree, and looks at what is its
// own.
func TestNothingToDo(t *testing.T) {
	server := start(t)
	b, name := populate(t, server)
	o := options()
	collect(t, b, o, 3)
	m := between(t, server.Endpoint)
	run := open(t, name, m.URL)
	if done, err := gc.Collect(t.Context(), run, o, nil); err != nil || done.Condemned+done.Withdrawn.Count > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	// Three PUTs, three GETs and the DELETE are those of the lock of runs.
	want := map[string]int{"PUT": 3, "DELETE": 1, "GET": 9, "GET list-type": 8, "GET uploads": 2}
	if diff := cmp.Diff(want, m.requests()); diff != "" {
		t.Errorf("the requests of a run with nothing to do (-want +got):\n%s", diff)
	}
}

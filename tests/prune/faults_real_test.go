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

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// A middleman stands before the store, counts, and does harm.
type middleman struct {
	URL string

	mu     sync.Mutex
	asked  []string
	cutAt  int  // from this request on the client is cut off; 0 for never
	passes bool // the request at which it is cut off reaches the store
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
		for _, name := range []string{"list-type", "delete"} {
			if r.URL.Query().Has(name) {
				what += " " + name
			}
		}
		m.asked = append(m.asked, what)
		n, cutAt := len(m.asked), m.cutAt
		m.mu.Unlock()
		switch {
		case cutAt > 0 && n == cutAt && m.passes:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case cutAt > 0 && n >= cutAt:
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

// TestCutOff: a run that is cut off at any request, every other of which reaches the
// store, leaves a tree that is whole, and a later run ends the work.
func TestCutOff(t *testing.T) {
	server := start(t)
	sweep := func(t *testing.T, at int, passes bool) (requests int) {
		b, name := populate(t, server)
		m := between(t, server.Endpoint)
		run := open(t, name, m.URL)
		o := options()
		o.Jobs = 1
		collect(t, b, o, 1)
		m.cutAt, m.passes = at, passes
		_, err := gc.Collect(t.Context(), run, o, nil)
		if at == 0 && err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		requests = len(m.asked)
		m.mu.Unlock()
		check(t, b)
		if at == 0 {
			return requests
		}
		// The lease of the lock and of the sweep run out, in tests without the first.
		if err := b.Delete(t.Context(), layout.RunLeaseKey); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settled)
		collect(t, b, o, 3)
		check(t, b)
		if there := names(t, b); len(there) != 2 || !there["lib"] {
			t.Errorf("in the end there are %v", there)
		}
		return requests
	}
	all := sweep(t, 0, false)
	if all < 20 {
		t.Fatalf("a sweep makes %d requests", all)
	}
	slots := make(chan struct{}, 16)
	var wait sync.WaitGroup
	for at := 1; at <= all; at++ {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			t.Run(fmt.Sprint(at), func(t *testing.T) { sweep(t, at, at%2 == 0) })
		})
	}
	wait.Wait()
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
	// Three PUTs and the DELETE are those of the lock of runs.
	got := m.requests()
	if got["POST delete"] > 0 || got["PUT"] > 3 || got["DELETE"] > 1 || got["GET list-type"] > 8 || got["GET"] > 9 {
		t.Errorf("a run with nothing to do makes %v", got)
	}
}

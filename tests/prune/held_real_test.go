//go:build real

package prune_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// window is for how long the store takes a request that was signed: a store takes it for
// a quarter of an hour, which is here shorter.
const window = 5 * time.Second

// A holder stands before the store and holds one request.
type holder struct {
	URL     string
	held    chan struct{} // closed when it has it
	release func()
	arrived chan int // with which answer the store took it
}

// hold holds the first request that matches. With cut the client loses its connection at
// once; otherwise it waits for its answer.
func hold(t *testing.T, endpoint string, cut bool, matches func(*http.Request) bool) *holder {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	h := &holder{held: make(chan struct{}), release: sync.OnceFunc(func() { close(released) }), arrived: make(chan int, 1)}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	first := make(chan struct{}, 1)
	first <- struct{}{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if matches(r) {
			select {
			case <-first:
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				signed := time.Now()
				late := r.Clone(context.WithoutCancel(r.Context())) // the network has it, whatever becomes of the client
				late.Body = io.NopCloser(bytes.NewReader(body))
				deliver := func(w http.ResponseWriter) {
					<-released
					answer := httptest.NewRecorder()
					if time.Since(signed) > window {
						answer.WriteHeader(http.StatusForbidden)
						answer.WriteString(`<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>too late</Message></Error>`)
					} else {
						proxy.ServeHTTP(answer, late)
					}
					h.arrived <- answer.Code
					if w != nil {
						w.WriteHeader(answer.Code)
						w.Write(answer.Body.Bytes())
					}
				}
				close(h.held)
				if cut {
					go deliver(nil)
					panic(http.ErrAbortHandler)
				}
				deliver(w)
				return
			default:
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.release()
		s.Close()
	})
	h.URL = s.URL
	return h
}

// taken makes a bucket from which a path with references was taken.
func taken(t *testing.T) (b bucket, name, endpoint string, top *layout.NarInfo) {
	t.Helper()
	server := start(t)
	b, name = populate(t, server)
	top = leaf(t, b)
	for n := range treetest.Records(t, b) {
		if len(n.References) > len(top.References) {
			top = n
		}
	}
	o := gc.TakeOptions{WithReferrers: true}
	o.Undo = time.Hour
	if _, err := gc.Take(t.Context(), b, []layout.StorePath{top.Path}, o); err != nil {
		t.Fatal(err)
	}
	b.late = window
	return b, name, server.Endpoint, top
}

// bring publishes a path again, as a writer of its own, or all that were there.
func bring(t *testing.T, name, endpoint string, only layout.StorePath) error {
	t.Helper()
	writer := open(t, name, endpoint)
	writer.late = window
	pool := compress.NewPool(2)
	defer pool.Close()
	paths := treetest.Closure(t)
	if only != "" {
		paths.Paths = slices.DeleteFunc(paths.Paths, func(p treetest.Path) bool { return p.Info.Path != only })
	}
	return paths.Add(t.Context(), &layout.Writer{Tree: writer, StoreDir: layout.DefaultStoreDir, Pool: pool})
}

// TestHeldPut: the network holds the narinfo of a path while all that it refers to is
// condemned. If it arrives within the fence, that stays; if the store refuses it as too
// late, nothing is broken.
func TestHeldPut(t *testing.T) {
	for _, arrives := range []bool{true, false} {
		b, name, endpoint, top := taken(t)
		h := hold(t, endpoint, false, func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+string(layout.NarInfoKey(top.Path)))
		})
		ended := make(chan error, 1)
		go func() { ended <- bring(t, name, h.URL, top.Path) }()
		<-h.held
		done, err := gc.Collect(t.Context(), b, options(), nil)
		if err != nil || done.Condemned == 0 {
			t.Fatalf("the run that condemns: %+v, %v", done, err)
		}
		fence := window + settled
		if early, err := gc.Collect(t.Context(), b, options(), nil); err != nil || early.Withdrawn.Count+early.Reclaimed.Count > 0 {
			t.Errorf("a run before the fence has passed: %+v, %v", early, err)
		}
		if arrives {
			h.release()
			if code := <-h.arrived; code != http.StatusOK {
				t.Fatalf("the store answers %d", code)
			}
			time.Sleep(fence)
		}
		time.Sleep(fence)
		done, err = gc.Collect(t.Context(), b, options(), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, b)
		if !arrives {
			if done.Withdrawn.Count == 0 {
				t.Errorf("nothing went: %+v", done)
			}
			h.release()
			if code := <-h.arrived; code != http.StatusForbidden {
				t.Fatalf("the store answers %d", code)
			}
		} else if !has(t, b, layout.NarInfoKey(top.Path)) {
			t.Error("what arrived in time has gone")
		}
		select {
		case err := <-ended: // it may have failed, of what had gone meanwhile
			t.Logf("arrives: %v; the writer: %v", arrives, err)
		case <-time.After(2 * time.Minute):
			t.Fatal("the writer does not end")
		}
		check(t, b)
	}
}

// TestHeldDelete: a removal gets no answer, and arrives later. Writers wait until it must
// have arrived, and what they bring then stays.
func TestHeldDelete(t *testing.T) {
	b, name, endpoint, top := taken(t)
	h := hold(t, endpoint, true, func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("delete") })
	if done, err := gc.Collect(t.Context(), b, options(), nil); err != nil || done.Condemned == 0 {
		t.Fatalf("the run that condemns: %+v, %v", done, err)
	}
	time.Sleep(window + settled)
	sweeper := open(t, name, h.URL)
	sweeper.late = window
	swept := make(chan error, 1)
	go func() {
		_, err := gc.Collect(t.Context(), sweeper, options(), nil)
		swept <- err
	}()
	<-h.held
	brought := make(chan error, 1)
	go func() { brought <- bring(t, name, endpoint, "") }()
	time.Sleep(window / 2)
	h.release()
	if code := <-h.arrived; code != http.StatusOK {
		t.Errorf("the store answers %d", code)
	}
	t.Logf("the sweeper: %v", <-swept)
	if err := <-brought; err != nil {
		t.Errorf("the writer: %v", err)
	}
	check(t, b)
	if !has(t, b, layout.NarInfoKey(top.Path)) {
		t.Error("what was brought has gone")
	}
}

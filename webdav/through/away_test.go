package through

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The URL of a NAR has all that a server needs that was started anew; and a NAR that the
// one before left without a record gets it with the next reader.
func TestAfterRestart(t *testing.T) {
	up := newCache(t, "up-1")
	app := treetest.Closure(t).Named("app").Info.Path
	url := newTrial(t, up).record(t, app).URL
	tr := newTrial(t, up)
	if status, _, err := tr.get(t, url); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	tr.settled(t)
	if err := tr.tree.Delete(t.Context(), layout.NarInfoKey(app)); err != nil {
		t.Fatal(err)
	}
	if status, _, err := tr.get(t, url); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(app)) {
		t.Error("the path was not published again")
	}
	if up.nars() != 1 {
		t.Errorf("%d fetches", up.nars())
	}
	// So it is if the reader is gone with the last byte.
	if err := tr.tree.Delete(t.Context(), layout.NarInfoKey(app)); err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	nar, _, _ := strings.Cut(url, "?")
	tr.Settle(gone, layout.Key(nar), app.Hash())
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(app)) {
		t.Error("the path was not published for a reader that has left")
	}
	// A URL that was made up leads nowhere.
	other := treetest.Closure(t).Named("lib").Info.Path
	for _, made := range []string{"?of=" + other.Hash(), "?of=" + strings.Repeat("0", 32), "?of=x", "?of=", ""} {
		name := "nar/" + strings.Repeat("0", 52) + ".nar.zst"
		if status, _, _ := tr.get(t, name+made); status != 404 {
			t.Errorf("%s%s: status %d", name, made, status)
		}
	}
}

// An upstream that does not answer is not taken for one that lacks a path (I5), and is
// left alone after a while.
func TestUpstreamAway(t *testing.T) {
	up := newCache(t, "up-1")
	app := treetest.Closure(t).Named("app").Info.Path
	tr := newTrial(t, up)
	n := tr.record(t, app)
	up.set(func(context.Context, layout.Key, io.ReadCloser) (io.ReadCloser, error) { return nil, errAway })
	for i := range 10 {
		key := string(layout.NarInfoKey(treetest.Closure(t).Named("lib").Info.Path))
		if i%2 == 0 {
			key = n.URL
		}
		if status, _, _ := tr.get(t, key); status != 503 {
			t.Errorf("%s: status %d", key, status)
		}
	}
	if up.nars() > 3 {
		t.Errorf("%d NARs were asked for", up.nars())
	}
	states := tr.cfg.Upstreams.States()
	if len(states) != 1 || !errors.Is(states[0].Alone, errAway) {
		t.Errorf("states: %v", states)
	}
	tr.nothing(t, app)
}

// An upstream that crawls is given up, and left alone.
func TestUpstreamCrawls(t *testing.T) {
	up := newCache(t, "up-1")
	up.set(onNARs(func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
		open := make(chan int)
		go func() {
			for {
				select {
				case open <- 10:
				case <-ctx.Done():
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		return &gate{ReadCloser: body, open: open, ctx: ctx}, nil
	}))
	tr := newTrial(t, up)
	app := treetest.Closure(t).Named("app").Info.Path
	n := tr.record(t, app)
	if status, text, err := tr.get(t, n.URL); status == 200 && err == nil {
		t.Errorf("it came to an end: %d bytes", len(text))
	}
	if tr.cfg.Upstreams.States()[0].Alone == nil {
		t.Error("the upstream is asked still")
	}
	if status, _, _ := tr.get(t, n.URL); status != 503 {
		t.Errorf("after that: status %d", status)
	}
	tr.nothing(t, app)
}

// A fetch goes on without readers if most of it is there, and ends otherwise.
func TestAbandoned(t *testing.T) {
	ft := func(n, size int64) *fetch {
		ctx, cancel := context.WithCancelCause(context.Background())
		f := &fetch{more: make(chan struct{}), users: 2, readers: 1, n: n, size: size, cancel: cancel}
		context.AfterFunc(ctx, func() { f.end(context.Cause(ctx)) })
		return f
	}
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			n, size int64
			ends    bool
		}{
			{1 << 20, 100 << 20, true},
			{1 << 20, -1, true},
			{51 << 20, 100 << 20, false},
			{1 << 20, 17 << 20, false},
		} {
			f := ft(test.n, test.size)
			f.exit()
			time.Sleep(abandonAfter + time.Second)
			synctest.Wait()
			if ended := f.err == errAbandoned; ended != test.ends {
				t.Errorf("after %d of %d bytes it ends: %v", test.n, test.size, ended)
			}
			if f.enter() == test.ends {
				t.Errorf("after %d of %d bytes it can be joined: %v", test.n, test.size, !test.ends)
			}
		}
		// A reader that comes again in time keeps it.
		f := ft(1<<20, 100<<20)
		f.exit()
		time.Sleep(abandonAfter - time.Second)
		if !f.enter() {
			t.Error("it cannot be joined in time")
		}
		time.Sleep(time.Hour)
		if f.err != nil {
			t.Error(f.err)
		}
		f.cancel(nil)
		synctest.Wait()
	})
}

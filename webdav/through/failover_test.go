package through

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A reader to whom nothing was sent yet gets the NAR from the next upstream in the same
// answer, whatever is wrong with the first.
func TestNextUpstream(t *testing.T) {
	for name, trouble := range map[string]func(context.Context, io.ReadCloser) (io.ReadCloser, error){
		"away":   func(context.Context, io.ReadCloser) (io.ReadCloser, error) { return nil, errAway },
		"gone":   absentNAR,
		"a page": func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) { return changed(body, page) },
	} {
		t.Run(name, func(t *testing.T) {
			first, second := newCache(t, "up-1"), newCache(t, "up-2")
			first.set(onNARs(trouble))
			tr := newTrial(t, first, second)
			app := treetest.Closure(t).Named("app").Info.Path
			n := tr.record(t, app)
			status, text, err := tr.get(t, n.URL)
			if status != 200 || err != nil || int64(len(text)) != n.FileSize {
				t.Errorf("%d, %d bytes, %v", status, len(text), err)
			}
			tr.settled(t)
			if !tr.has(t, layout.NarInfoKey(app)) {
				t.Error("the path was not published")
			}
		})
	}
}

func page([]byte) []byte { return []byte("<!doctype html><title>Log in</title>") }

// A record that is remembered from an upstream which is away by now leads to the next one.
func TestNextUpstreamAfterRecord(t *testing.T) {
	first, second := newCache(t, "up-1"), newCache(t, "up-2")
	tr := newTrial(t, first, second)
	app, lib := treetest.Closure(t).Named("app").Info.Path, treetest.Closure(t).Named("lib").Info.Path
	n, other := tr.record(t, app), tr.record(t, lib)
	first.set(func(context.Context, layout.Key, io.ReadCloser) (io.ReadCloser, error) { return nil, errAway })
	url := tr.cfg.Upstreams.States()[0].URL
	tr.cfg.Upstreams.Failed(url, errAway, true)
	for _, name := range []string{n.URL, other.URL} {
		if status, _, err := tr.get(t, name); status != 200 || err != nil {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	tr.settled(t)
	if first.nars() != 0 || second.nars() != 2 {
		t.Errorf("%d NARs of the one that is away, %d of the other", first.nars(), second.nars())
	}
	// While both are away the server cannot tell.
	second.set(func(context.Context, layout.Key, io.ReadCloser) (io.ReadCloser, error) { return nil, errAway })
	if status, _, _ := tr.get(t, string(layout.NarInfoKeyOf(strings.Repeat("0", 32)))); status != 503 {
		t.Errorf("what nobody can tell: status %d", status)
	}
}

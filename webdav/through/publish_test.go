package through

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// fill reads the NAR of a path to its end for a client.
func (tr *trial) fill(t testing.TB, client share.Client, n *layout.NarInfo) {
	t.Helper()
	flow, err := tr.NAR(as(t.Context(), client), urlKey(n), n.Path.Hash())
	if err != nil {
		t.Fatal(err)
	}
	if flow.Key != "" {
		return
	}
	defer flow.Body.Close()
	if _, err := io.Copy(io.Discard, flow.Body); err != nil {
		t.Fatal(err)
	}
}

// arrives waits until a path is not on its way any more.
func (tr *trial) arrives(t testing.TB, n *layout.NarInfo) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		tr.mu.Lock()
		coming := tr.pending[n.Path.Hash()] != nil
		tr.mu.Unlock()
		if !coming {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is on its way for a minute", n.Path)
		}
	}
}

// Few paths wait to be published, which clients share. The others do not keep those waiting
// that refer to them, and are published with their next reader.
func TestWaitsAreBounded(t *testing.T) {
	up := newCache(t, "up-1")
	tr := newTrial(t, up)
	tr.places, tr.waits = newPlaces(4), share.NewPool(2, 0)
	record := func(name string) *layout.NarInfo { return tr.record(t, treetest.Closure(t).Named(name).Info.Path) }
	app, lib, flat, other := record("app"), record("lib"), record("flat"), record("lib-debug")
	open := make(chan int)
	up.set(func(ctx context.Context, key layout.Key, body io.ReadCloser) (io.ReadCloser, error) {
		if key != urlKey(lib) {
			return body, nil
		}
		return &gate{ReadCloser: body, open: open, ctx: ctx}, nil
	})
	read := make(chan bool)
	go func() {
		tr.fill(t, "a", lib)
		close(read)
	}()
	open <- 1
	tr.fill(t, "a", app)                                  // refers to lib, and waits for that
	place, err := tr.places.Take(as(t.Context(), "a"), 1) // that of the fetch, which keeps it until it waits
	if err != nil {
		t.Fatal(err)
	}
	place.Release()
	tr.fill(t, "a", flat)
	tr.arrives(t, flat)
	if tr.has(t, layout.NarInfoKey(flat.Path)) || tr.counted.of(Withheld) != 1 {
		t.Errorf("%d paths were withheld, want the second of a client that may have one", tr.counted.of(Withheld))
	}
	tr.fill(t, "b", other)
	tr.arrives(t, other)
	if !tr.has(t, layout.NarInfoKey(other.Path)) {
		t.Error("another client's path was not published")
	}
	close(open)
	<-read
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(app.Path)) || tr.has(t, layout.NarInfoKey(lib.Path)) {
		t.Errorf("%s is published: %v; %s: %v", app.Path, tr.has(t, layout.NarInfoKey(app.Path)), lib.Path, tr.has(t, layout.NarInfoKey(lib.Path)))
	}
	for _, n := range []*layout.NarInfo{lib, flat} {
		if status, _, err := tr.get(t, n.URL); status != 200 || err != nil {
			t.Errorf("%s: %d, %v", n.URL, status, err)
		}
		tr.settled(t)
		if !tr.has(t, layout.NarInfoKey(n.Path)) {
			t.Errorf("%s is not published after its next reader", n.Path)
		}
	}
}

// The inbox has few records at a time to publish, which clients share.
func TestPutsAreBounded(t *testing.T) {
	tr := newTrial(t, newCache(t, "up-1"))
	tr.puts = share.NewPool(2, time.Minute)
	flat := tr.record(t, treetest.Closure(t).Named("flat").Info.Path)
	lib := tr.record(t, treetest.Closure(t).Named("lib").Info.Path)
	busy, err := tr.puts.Take(as(t.Context(), "a"), 1)
	if err != nil {
		t.Fatal(err)
	}
	tr.fill(t, "a", flat)
	tr.fill(t, "b", lib)
	tr.arrives(t, lib)
	if !tr.has(t, layout.NarInfoKey(lib.Path)) {
		t.Error("another client's path was not published")
	}
	if tr.has(t, layout.NarInfoKey(flat.Path)) {
		t.Error("a client has more than its share of the inbox")
	}
	busy.Release()
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(flat.Path)) {
		t.Error("the path was not published when there was room")
	}
}

// A path is on its way until the last fetch of it has ended, whatever became of the first.
func TestArrivesByTwoWays(t *testing.T) {
	tr := newTrial(t, newCache(t, "up-1"))
	hash := treetest.Closure(t).Named("app").Info.Path.Hash()
	tr.mu.Lock()
	tr.expect(hash)
	tr.expect(hash)
	done := tr.pending[hash].done
	tr.mu.Unlock()
	tr.arrived(hash)
	select {
	case <-done:
		t.Error("nothing waits for the second fetch")
	default:
	}
	tr.arrived(hash)
	<-done
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.pending) != 0 {
		t.Error("the path is still on its way")
	}
}

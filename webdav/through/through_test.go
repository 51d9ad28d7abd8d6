package through

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav"
)

// A reader gets a closure from an empty tree, and the tree is that of the upstream
// afterwards, with signatures of ours.
func TestFills(t *testing.T) {
	up := newCache(t, "up-1")
	tr := newTrial(t, up)
	closure := treetest.Closure(t)
	for _, p := range closure.Paths {
		n := tr.record(t, p.Info.Path)
		if _, ok := (signer.Trusted{tr.ours.Public()}).Verify(n.Fingerprint(layout.DefaultStoreDir), n.Sigs); !ok {
			t.Errorf("%s has no signature of ours", p.Info.Path)
		}
		if want := "?of=" + p.Info.Path.Hash(); !strings.HasSuffix(n.URL, want) {
			t.Errorf("the URL of %s is %s", p.Info.Path, n.URL)
		}
		status, file, err := tr.get(t, n.URL)
		if status != 200 || err != nil {
			t.Fatalf("the NAR of %s: %d, %v", p.Info.Path, status, err)
		}
		z, err := compress.NewReader(strings.NewReader(file), n.Compression)
		if err != nil {
			t.Fatal(err)
		}
		archive, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(archive, p.NAR) {
			t.Errorf("the NAR of %s is another: %v", p.Info.Path, err)
		}
	}
	tr.settled(t)
	for _, p := range closure.Paths {
		want := treetest.Record(t, up.Tree, p.Info.Path.Name())
		got := treetest.Record(t, tr.tree, p.Info.Path.Name())
		if got.URL != want.URL || got.FileHash != want.FileHash || len(got.Sigs) != len(want.Sigs)+1 {
			t.Errorf("the record of %s is\n%s\nwant that of the upstream\n%s", p.Info.Path,
				got.Marshal(layout.DefaultStoreDir), want.Marshal(layout.DefaultStoreDir))
		}
		if !tr.has(t, layout.ListingKey(p.Info.Path)) {
			t.Errorf("%s has no listing", p.Info.Path)
		}
	}
	// Nothing of it needs the upstream any more, by either URL.
	up.set(func(context.Context, layout.Key, io.ReadCloser) (io.ReadCloser, error) { return nil, errAway })
	n := tr.record(t, closure.Named("app").Info.Path)
	if strings.Contains(n.URL, "?") {
		t.Errorf("the URL of what is in the tree is %s", n.URL)
	}
	for _, url := range []string{n.URL, n.URL + "?of=" + n.Path.Hash()} {
		if status, _, err := tr.get(t, url); status != 200 || err != nil {
			t.Errorf("%s: %d, %v", url, status, err)
		}
	}
	if n := tr.counted.of(Published); n != len(closure.Paths) {
		t.Errorf("%d paths were published, want %d", n, len(closure.Paths))
	}
}

// A reference that no reader asked for is declared as the upstream's.
func TestReferences(t *testing.T) {
	tr := newTrial(t, newCache(t, "up-1"))
	app := treetest.Closure(t).Named("app").Info
	if status, _, err := tr.get(t, tr.record(t, app.Path).URL); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(app.Path)) {
		t.Error("the path was not published")
	}
	for _, ref := range app.References {
		if ref != app.Path && !tr.has(t, layout.ProvisionKey(ref)) {
			t.Errorf("%s is not declared", ref)
		}
	}
}

// Any number of readers is one fetch, each gets bytes as they come, and none the last byte
// before all were checked.
func TestOneFetch(t *testing.T) {
	up := newCache(t, "up-1")
	tr := newTrial(t, up)
	app := treetest.Closure(t).Named("app").Info.Path
	open := make(chan int)
	up.set(onNARs(func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
		return &gate{ReadCloser: body, open: open, ctx: ctx}, nil
	}))
	n := tr.record(t, app)
	flows := make([]webdav.Flow, 32)
	var wait sync.WaitGroup
	for i := range flows {
		wait.Go(func() {
			var err error
			if flows[i], err = tr.NAR(as(t.Context(), "c"), urlKey(n), app.Hash()); err != nil {
				t.Error(err)
			}
		})
	}
	open <- 100_000
	wait.Wait()
	read := func(size int) {
		t.Helper()
		var wait sync.WaitGroup
		for i := range flows {
			wait.Go(func() {
				if _, err := io.ReadFull(flows[i].Body, make([]byte, size)); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	}
	read(50_000)
	open <- int(n.FileSize) - 100_000 - 1
	read(int(n.FileSize) - 50_000 - 1)
	if tr.has(t, urlKey(n)) {
		t.Error("the NAR is in the tree before its end came")
	}
	close(open)
	for i := range flows {
		rest, err := io.ReadAll(flows[i].Body)
		if len(rest) != 1 || err != nil {
			t.Errorf("the end: %d bytes, %v", len(rest), err)
		}
		flows[i].Body.Close()
	}
	tr.settled(t)
	if up.nars() != 1 || up.questions(layout.NarInfoKey(app)) != 1 {
		t.Errorf("the upstream was asked %v", up.asked)
	}
	if !tr.has(t, layout.NarInfoKey(app)) {
		t.Error("the path was not published")
	}
}

// A reader that goes away half-way takes nothing from the others.
func TestReaderGoes(t *testing.T) {
	up := newCache(t, "up-1")
	tr := newTrial(t, up)
	app := treetest.Closure(t).Named("app").Info.Path
	open := make(chan int)
	up.set(onNARs(func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
		return &gate{ReadCloser: body, open: open, ctx: ctx}, nil
	}))
	n := tr.record(t, app)
	ctx, cancel := context.WithCancel(as(t.Context(), "a"))
	failed := make(chan error)
	go func() {
		flow, err := tr.NAR(ctx, urlKey(n), app.Hash())
		if err == nil {
			_, err = io.ReadAll(flow.Body)
			flow.Body.Close()
		}
		failed <- err
	}()
	open <- 1000
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the reader that went: %v", err)
	}
	close(open)
	tr.settled(t)
	if !tr.has(t, layout.NarInfoKey(app)) {
		t.Error("the path was not published")
	}
}

// HEAD asks for no bytes.
func TestHead(t *testing.T) {
	up := newCache(t, "up-1")
	tr := newTrial(t, up)
	n := tr.record(t, treetest.Closure(t).Named("app").Info.Path)
	for _, path := range []string{n.URL, string(layout.NarInfoKey(n.Path))} {
		response, err := http.Head(tr.web.URL + "/" + path)
		if err != nil || response.StatusCode != 200 {
			t.Errorf("HEAD %s: %v, %v", path, response.Status, err)
		}
	}
	if up.nars() != 0 {
		t.Error("a NAR was fetched")
	}
}

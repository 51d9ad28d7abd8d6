package through

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
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

// Wrong bytes never come to an end for a reader, and leave nothing in the tree. Then the
// next upstream is asked.
func TestWrongBytes(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"one bit":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"last bit": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut off":  func(b []byte) []byte { return b[:len(b)-100] },
		"longer":   func(b []byte) []byte { return append(b, 0) },
		"a page":   func([]byte) []byte { return []byte("<!doctype html><title>Log in</title>") },
		"nothing":  func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newCache(t, "up-1"), newCache(t, "up-2")
			first.set(onNARs(func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) { return changed(body, change) }))
			alone := newTrial(t, first)
			app := treetest.Closure(t).Named("app").Info.Path
			n := alone.record(t, app)
			if status, text, err := alone.get(t, n.URL); status == 200 && err == nil {
				t.Errorf("a reader got %d wrong bytes as a whole", len(text))
			}
			alone.nothing(t, app)
			if alone.counted.of(Wrong) != 1 {
				t.Errorf("counted: %v", alone.counted.all)
			}

			tr := newTrial(t, first, second)
			n = tr.record(t, app)
			right, _, err := second.Tree.Get(t.Context(), urlKey(n))
			if err != nil {
				t.Fatal(err)
			}
			defer right.Close()
			want, err := io.ReadAll(right)
			if err != nil {
				t.Fatal(err)
			}
			if status, text, err := tr.get(t, n.URL); status == 200 && err == nil && text != string(want) {
				t.Errorf("a reader got %d wrong bytes as a whole", len(text))
			}
			if tr.counted.of(Wrong) != 1 {
				t.Errorf("counted: %v", tr.counted.all)
			}
			// A reader goes on where it broke off.
			if status, rest, err := tr.get(t, n.URL, "Range", "bytes=1000-"); status != 206 || err != nil || int64(len(rest)) != n.FileSize-1000 {
				t.Errorf("from the second upstream: %d, %d bytes, %v", status, len(rest), err)
			}
			tr.settled(t)
			if !tr.has(t, layout.NarInfoKey(app)) {
				t.Error("the path was not published")
			}
		})
	}
}

// A record whose NAR is gone is as good as none, for a while.
func TestOldRecord(t *testing.T) {
	up := newCache(t, "up-1")
	up.set(onNARs(absentNAR))
	tr := newTrial(t, up)
	app := treetest.Closure(t).Named("app").Info.Path
	n := tr.record(t, app)
	if status, _, _ := tr.get(t, n.URL); status != 404 {
		t.Errorf("the NAR: status %d", status)
	}
	if status, _, _ := tr.get(t, string(layout.NarInfoKey(app))); status != 404 {
		t.Errorf("the narinfo after that: status %d", status)
	}
	tr.nothing(t, app)
}

// A NAR of a consistent record that is not the one that was signed.
func TestOtherNAR(t *testing.T) {
	up := newCache(t, "up-1")
	app, lib := treetest.Record(t, up.Tree, "app"), treetest.Record(t, up.Tree, "lib")
	app.URL, app.FileHash, app.FileSize = lib.URL, lib.FileHash, lib.FileSize
	treetest.PutText(t, up.Tree, layout.NarInfoKey(app.Path), string(app.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	n := tr.record(t, app.Path)
	if status, _, err := tr.get(t, n.URL); status == 200 && err == nil {
		t.Error("a reader got another NAR")
	}
	tr.nothing(t, app.Path)
}

// An upstream may leave out what its file hashes to.
func TestUnnamedFile(t *testing.T) {
	up := newCache(t, "up-1")
	was := treetest.Record(t, up.Tree, "app")
	bare := *was
	bare.FileHash, bare.FileSize = layout.Hash{}, 0
	treetest.PutText(t, up.Tree, layout.NarInfoKey(bare.Path), string(bare.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	n := tr.record(t, bare.Path)
	for range 2 { // while it comes, and from the tree
		status, text, err := tr.get(t, n.URL)
		if status != 200 || err != nil || int64(len(text)) != was.FileSize {
			t.Errorf("%s: %d, %d bytes, %v", n.URL, status, len(text), err)
		}
		tr.settled(t)
	}
	if got := treetest.Record(t, tr.tree, "app"); got.URL != was.URL || got.FileHash != was.FileHash {
		t.Errorf("the tree has\n%s", got.Marshal(layout.DefaultStoreDir))
	}
	if up.nars() != 1 {
		t.Errorf("%d fetches", up.nars())
	}
}

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

// A client that makes hashes up costs upstreams little, and no other client anything.
func TestMadeUpHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newCache(t, "up-1")
		tr := newTrial(t, up)
		defer tr.Close()
		start, asked, refused := time.Now(), 0, 0
		for i := range 30_000 {
			_, _, err := tr.NarInfo(as(t.Context(), "mallory"), fmt.Sprintf("%032d", i))
			var wait *BudgetError
			switch {
			case errors.Is(err, fs.ErrNotExist):
				asked++
			case errors.As(err, &wait):
				refused++
			default:
				t.Fatal(err)
			}
		}
		most := 5000 + int(time.Since(start)/((1+costOfAbsence)*budgetStep)) + int(askPatience/(costOfAbsence*budgetStep)) + 1
		if asked > most || asked+refused != 30_000 {
			t.Errorf("the upstream was asked %d times, want %d at most; %d were refused", asked, most, refused)
		}
		if _, _, err := tr.NarInfo(as(t.Context(), "alice"), strings.Repeat("z", 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another client: %v", err)
		}
		// The same question again costs nothing.
		before := up.questions(layout.NarInfoKeyOf(strings.Repeat("z", 32)))
		for range 1000 {
			tr.NarInfo(as(t.Context(), "alice"), strings.Repeat("z", 32))
		}
		if now := up.questions(layout.NarInfoKeyOf(strings.Repeat("z", 32))); now != before {
			t.Errorf("a known absence was asked for %d times", now-before)
		}
	})
}

// Large records are held in memory until they were sent, and clients share that.
func TestLargeRecordsAreShared(t *testing.T) {
	up := newCache(t, "up-1")
	n := *treetest.Record(t, up.Tree, "app")
	for i := range 2000 {
		ref, err := layout.ParseStorePath(fmt.Sprintf("%032d-%s", i, strings.Repeat("x", 200)))
		if err != nil {
			t.Fatal(err)
		}
		n.References = append(n.References, ref)
	}
	n.Sigs = nil
	if err := n.Sign(layout.DefaultStoreDir, []signer.SecretKey{up.key}); err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, up.Tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	tr.texts = share.NewPool(textMemory, 0)
	var held []func()
	for {
		_, release, err := tr.NarInfo(as(t.Context(), "mallory"), n.Path.Hash())
		if err != nil {
			break
		}
		if held = append(held, release); len(held) > textMemory/(textCost*400<<10) {
			t.Fatalf("a client holds %d records of 400 KiB", len(held))
		}
	}
	if len(held) == 0 {
		t.Error("a client gets none")
	}
	for _, client := range []share.Client{"alice", "mallory"} {
		_, release, err := tr.NarInfo(as(t.Context(), client), n.Path.Hash())
		if err != nil {
			t.Fatalf("%s: %v", client, err)
		}
		release()
		for _, release := range held {
			release()
		}
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

// Fetches for one client leave room for another.
func TestPlacesAreShared(t *testing.T) {
	up := newCache(t, "up-1")
	open := make(chan int)
	up.set(onNARs(func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
		return &gate{ReadCloser: body, open: open, ctx: ctx}, nil
	}))
	tr := newTrial(t, up)
	tr.Filler.cfg.Fetches = 4
	tr.places = newPlaces(4)
	var paths []*layout.NarInfo
	for _, name := range []string{"app", "lib", "flat", "env", "lib-debug"} {
		paths = append(paths, tr.record(t, treetest.Closure(t).Named(name).Info.Path))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for _, n := range paths[:4] {
		readers.Go(func() { tr.NAR(as(ctx, "mallory"), urlKey(n), n.Path.Hash()) })
	}
	for up.nars() < 2 {
		time.Sleep(time.Millisecond)
	}
	readers.Go(func() { tr.NAR(as(ctx, "alice"), urlKey(paths[4]), paths[4].Path.Hash()) })
	for up.nars() < 3 {
		time.Sleep(time.Millisecond)
	}
	if n := up.questions(urlKey(paths[4])); n != 1 {
		t.Errorf("the second client's NAR was asked for %d times", n)
	}
	cancel()
	readers.Wait()
}

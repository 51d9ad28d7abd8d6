package through

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

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

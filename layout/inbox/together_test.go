package inbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// TestManyAtOnce: several clients send the same tree at the same time, in
// different orders, in one process and in two.
func TestManyAtOnce(t *testing.T) {
	s := newSample(t)
	for _, inDir := range []bool{false, true} {
		t.Run(fmt.Sprint("directory ", inDir), func(t *testing.T) {
			var tree layout.Tree = treetest.NewMem(t)
			if inDir {
				dir, err := layout.OpenDir(t.TempDir() + "/cache")
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				tree = dir
			}
			edit := func(c *Config) {
				c.Writer.Keys = []signer.SecretKey{s.key}
				if inDir {
					c.Writer.Spool = nil // the tree's own
				}
			}
			inboxes := []*trial{trialOn(t, tree, edit), trialOn(t, tree, edit)}
			var clients sync.WaitGroup
			for i := range 6 {
				clients.Go(func() {
					tr := inboxes[i%2]
					rng := rand.New(rand.NewPCG(uint64(i), 0))
					keys := s.keys()
					if i < 2 {
						keys = append(nixOrder(t, s, i == 0), "index.html", layout.CacheInfoKey)
					} else {
						rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
					}
					for _, key := range keys {
						if _, err := tr.send(key, s.objects[key], false); err != nil {
							t.Errorf("put %s: %v", key, err)
						}
					}
				})
			}
			clients.Wait()
			// A look settles a narinfo that one process held and the other
			// completed.
			for range 2 {
				for _, tr := range inboxes {
					if err := tr.Settle(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
			inboxes[0].wantTree(s.objects, fsck.Options{Trusted: signer.Trusted{s.key.Public()}})
		})
	}
}

// TestSameKeyOtherBytes: of two records of one path one wins, whole.
func TestSameKeyOtherBytes(t *testing.T) {
	s := newSample(t)
	first := s.narInfo(t, "twin")
	second := *s.narInfo(t, "lib-debug")
	second.Path, second.Sigs = first.Path, nil
	key := layout.NarInfoKey(first.Path)
	texts := []string{s.objects[key], string(second.Marshal(layout.DefaultStoreDir))}
	for range 20 {
		tr := newTrial(t, nil)
		tr.sendNARs(s)
		var both sync.WaitGroup
		refused := make([]Reason, 2)
		for i := range 2 {
			both.Go(func() {
				_, err := tr.send(key, texts[i], true)
				refused[i] = reasonOf(err)
			})
		}
		both.Wait()
		slices.Sort(refused)
		if !slices.Equal(refused, []Reason{"", Conflict}) {
			t.Fatalf("refused: %q", refused)
		}
		if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSomeoneWasFaster: another process publishes the path between our look and
// our narinfo, with the same content or another.
func TestSomeoneWasFaster(t *testing.T) {
	s := newSample(t)
	for _, same := range []bool{true, false} {
		tr := newTrial(t, nil)
		tr.sendNARs(s)
		n := s.narInfo(t, "twin")
		key, ls := layout.NarInfoKey(n.Path), layout.ListingKey(n.Path)
		theirs := s.narInfo(t, "twin")
		theirLs := s.objects[ls]
		theirs.Sigs = nil
		if !same {
			*theirs = *s.narInfo(t, "lib-debug")
			theirs.Path, theirs.Sigs = n.Path, nil
			theirLs = s.objects[layout.ListingKey(s.path("lib-debug"))]
		}
		tr.Inbox.writer.Tree = &ambushed{Tree: tr.mem, key: key, first: func() {
			tr.mem.Damage(ls, func([]byte) []byte { return []byte(theirLs) })
			tr.mem.Damage(key, func([]byte) []byte { return theirs.Marshal(layout.DefaultStoreDir) })
			// Our own listing had gone before.
			if err := tr.mem.Put(t.Context(), ls, layout.Bytes([]byte(s.objects[ls])), layout.PutOptions{}); err != nil {
				t.Error(err)
			}
		}}
		outcome, err := tr.send(key, s.objects[key], true)
		if same && (outcome != Merged || err != nil) || !same && reasonOf(err) != Conflict {
			t.Errorf("same content %v: %v, %v", same, outcome, err)
		}
		if err := fsck.Whole(t.Context(), tr.mem, fsck.Options{Deep: true}); err != nil {
			t.Errorf("same content %v: %v", same, err)
		}
	}
}

// ambushed does something first when a key is put for the first time.
type ambushed struct {
	layout.Tree
	key   layout.Key
	first func()
}

func (a *ambushed) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if key == a.key && a.first != nil {
		a.first()
		a.first = nil
	}
	return a.Tree.Put(ctx, key, body, opts)
}

// TestNARComesWhileHolding: what a narinfo waits for arrives after it was found
// missing, and before the narinfo is known to wait.
func TestNARComesWhileHolding(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	tr.Inbox.writer.Tree = &ambushed{Tree: tr.mem, key: heldKey(key.PathHash(), ""), first: func() {
		tr.must(nar, s.objects[nar], true, Created)
	}}
	tr.must(key, s.objects[key], false, Held)
	if got := contents(t, tr.tree)[key]; got != s.objects[key] {
		t.Errorf("it was not published: %q", got)
	}
}

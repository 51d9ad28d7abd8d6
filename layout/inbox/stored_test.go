package inbox

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
)

// putLarge has a path in the tree whose narinfo has two megabytes.
func (tr *trial) putLarge(t *testing.T, s *sample) layout.Key {
	t.Helper()
	n := s.narInfo(t, "source")
	key := layout.NarInfoKey(s.path("source"))
	tr.must(s.nar(t, "source"), s.objects[s.nar(t, "source")], false, Created)
	tr.must(key, s.objects[key], false, Created)
	for i := range 20_000 {
		sig, err := signer.ParseSignature(fmt.Sprintf("k%d:%s==", i, strings.Repeat("A", 86)))
		if err != nil {
			t.Fatal(err)
		}
		n.Sigs = append(n.Sigs, sig)
	}
	if err := tr.tree.Put(t.Context(), key, layout.Bytes(n.Marshal(layout.DefaultStoreDir)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return key
}

// A request of a few bytes may need a large record of the tree in memory. A client that
// has its share of that waits, and another does not.
func TestLargeRecordsAreReadInTurn(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	source, key := s.path("source"), tr.putLarge(t, s)
	id := "sha256:" + strings.Repeat("a", 64) + "!out"
	for name, do := range map[string]func(context.Context) error{
		"a Nix asks whether the path is there": func(ctx context.Context) error {
			_, err := tr.ForNix().Stat(ctx, key)
			return err
		},
		"a Nix reads the narinfo": func(ctx context.Context) error {
			body, _, err := tr.ForNix().Get(ctx, key)
			if err == nil {
				body.Close()
			}
			return err
		},
		"a narinfo": func(ctx context.Context) error {
			_, err := tr.Put(ctx, key, strings.NewReader(s.objects[key]), Options{Size: -1})
			if reasonOf(err) == Conflict {
				return nil
			}
			return err
		},
		"a listing": func(ctx context.Context) error {
			_, err := tr.Put(ctx, layout.ListingKey(source), strings.NewReader(s.objects[layout.ListingKey(source)]), Options{Size: -1})
			return err
		},
		"a realisation": func(ctx context.Context) error {
			_, err := tr.Put(ctx, layout.Key("realisations/"+id+".doi"), strings.NewReader(fmt.Sprintf(`{"dependentRealisations":{},"id":"%s","outPath":"%s","signatures":[]}`, id, source)), Options{Size: -1})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := share.As(t.Context(), "a"), share.As(t.Context(), "b")
			room, err := tr.stored.Take(as(a), storedMemory/2)
			if err != nil {
				t.Fatal(err)
			}
			if err := do(b); err != nil {
				t.Errorf("another client: %v", err)
			}
			ctx, stop := context.WithTimeout(a, 50*time.Millisecond)
			defer stop()
			if err := do(ctx); err == nil {
				t.Error("a client that has its share gets more")
			}
			room.Release()
			if err := do(a); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A Nix that takes a large narinfo slowly holds its room meanwhile, and another client
// has its own.
func TestLargeRecordsAreHeldWhileTheyAreSent(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	key := tr.putLarge(t, s)
	tr.stored = share.NewPool(storedMemory, 0)
	a, b := share.As(t.Context(), "a"), share.As(t.Context(), "b")
	var held []io.Closer
	for {
		body, _, err := tr.ForNix().Get(a, key)
		if err != nil {
			break
		}
		if held = append(held, body); len(held) > storedMemory>>20 {
			t.Fatalf("a client holds %d records of a megabyte", len(held))
		}
	}
	if len(held) == 0 {
		t.Error("a client cannot read one")
	}
	if body, _, err := tr.ForNix().Get(b, key); err != nil {
		t.Errorf("another client: %v", err)
	} else {
		body.Close()
	}
	for _, body := range held {
		body.Close()
	}
	if body, _, err := tr.ForNix().Get(a, key); err != nil {
		t.Errorf("afterwards: %v", err)
	} else {
		body.Close()
	}
}

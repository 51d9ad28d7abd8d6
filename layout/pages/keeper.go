package pages

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Keeper keeps the page of a tree current. It is safe to use several at once, in
// several processes.
type Keeper struct {
	Tree layout.Tree
	Now  func() time.Time // nil for time.Now
}

// ErrForeign says that an index.html is there that is none of ours.
var ErrForeign = errors.New("there is a page of someone else's")

// A DamagedError says that the search index makes no sense and has to be made
// anew, see Forget.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string { return fmt.Sprintf("the search index is damaged: %v", e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// A Change is what happened to a tree.
type Change struct {
	Came []Record           // paths that are there; those that were known already may be among them
	Gone []layout.StorePath // paths that are not there any more
	Keys []string           // public keys that sign here
	// Pins replace all pins, if SetPins is set. Graphs are those of pins whose graph
	// is new.
	SetPins bool
	Pins    []Pin
	Graphs  []Graph
	// Served is added to what was served before.
	Served *Served
}

func (k *Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

// Apply brings the page of a tree up to date. A tree without a page stays without
// one. Dying on the way leaves a page that is older than the tree in part; the next
// change mends it.
func (k *Keeper) Apply(ctx context.Context, c Change) error {
	settings, err := ReadSettings(ctx, k.Tree)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if settings.Unlisted {
		c.Graphs, c.Pins = nil, slices.Clone(c.Pins)
		for i := range c.Pins {
			c.Pins[i].Graph = ""
		}
	}
	changed := settings.Files == "" || c.SetPins || c.Served != nil
	added := settings
	added.Keys = slices.Clone(settings.Keys)
	if added.AddKeys(c.Keys...); !slices.Equal(added.Keys, settings.Keys) {
		changed = true
		if err := k.set(ctx, func(s *Settings) error { s.AddKeys(c.Keys...); settings = *s; return nil }); err != nil {
			return err
		}
	}
	news, err := k.index(ctx, settings, c)
	if err != nil {
		return err
	}
	if err := k.graphs(ctx, c); err != nil {
		return err
	}
	if !changed && !news {
		return nil
	}
	return k.render(ctx, settings, c)
}

// graphs puts the graphs of pins, and removes those of pins that are gone.
func (k *Keeper) graphs(ctx context.Context, c Change) error {
	for _, g := range c.Graphs {
		text, err := json.Marshal(g)
		if err != nil {
			return err
		}
		if err := k.Tree.Put(ctx, GraphKey(g.Pin), layout.Bytes(text), layout.PutOptions{}); err != nil {
			return err
		}
	}
	if !c.SetPins {
		return nil
	}
	text, err := layout.ReadAll(ctx, k.Tree, statsKey)
	if err != nil {
		return nil // without stats nothing leads to a graph
	}
	var old []layout.Key
	for _, p := range parseStats(text).Pins {
		if p.Graph != "" && !slices.ContainsFunc(c.Pins, func(q Pin) bool { return q.Graph == p.Graph }) {
			old = append(old, p.Graph)
		}
	}
	return k.drop(ctx, old)
}

// drop removes parts of the page that nothing leads to any more.
func (k *Keeper) drop(ctx context.Context, keys []layout.Key) error {
	return layout.DeleteBatch(ctx, k.Tree, keys)
}

func digest(text []byte) string {
	return layout.Hash(sha256.Sum256(text)).Nix32()
}

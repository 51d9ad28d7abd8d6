package fsck

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// pins checks that what is pinned is there.
func (c *check) pins(ctx context.Context) error {
	pins, err := gc.ReadPins(ctx, c.tree)
	if bad := (*gc.PinError)(nil); errors.As(err, &bad) {
		return c.emit(finding{Problem: Problem{Kind: BadPin, Key: layout.PinKey(bad.Name), Detail: bad.Err.Error()}})
	}
	if err != nil {
		return c.emit(finding{Problem{Key: layout.PinsFolder}, err})
	}
	for _, pin := range pins {
		for _, g := range pin.Kept(time.Now()) {
			for _, p := range g.Paths {
				if c.index.hasNarInfo(p.Hash()) {
					continue
				}
				_, there, err := layout.Lookup(ctx, c.tree, layout.NarInfoKey(p))
				if err == nil && there {
					continue
				}
				f := finding{Problem{Kind: MissingPinned, Key: layout.PinKey(pin.Name), Path: p, Detail: fmt.Sprintf("generation %d", g.Number)}, err}
				if err := c.emit(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// withdrawn tells what can be brought back. The NARs and listings that stay for
// that are not leftovers.
func (c *check) withdrawn(ctx context.Context) error {
	records, err := gc.Records(ctx, c.tree)
	if err != nil {
		return c.emit(finding{Problem{}, err})
	}
	for _, r := range records {
		paths := 0
		for w, err := range r.Read(ctx, c.tree) {
			if err != nil {
				if err := c.emit(finding{Problem{Key: r.Key}, err}); err != nil {
					return err
				}
				continue
			}
			n, err := layout.ParseNarInfo([]byte(w.Text), c.storeDir)
			if err != nil {
				continue // a realisation
			}
			paths++
			nars, _ := n.NARKeys()
			for _, nar := range nars {
				if i := c.index.nar(nar); i >= 0 {
					c.index.nars[i].referenced = true
				}
			}
			c.index.retain(n.Path.Hash())
		}
		p := Problem{Kind: WithdrawnPaths, Key: r.Key, Detail: fmt.Sprintf("%d, on %s", paths, r.Time.Format(time.DateOnly))}
		if err := c.emit(finding{Problem: p}); err != nil {
			return err
		}
	}
	return nil
}

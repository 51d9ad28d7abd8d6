package mirror

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// errWithdrawn says that an object went from the source after it was listed.
var errWithdrawn = fmt.Errorf("withdrawn meanwhile: %w", fs.ErrNotExist)

// needNAR returns nil if the destination has a NAR, at one of some keys, which
// the object at key of leads to (I2).
func (p *pass) needNAR(ctx context.Context, of layout.Key, nars []layout.Key, n *layout.NarInfo) error {
	for _, nar := range nars {
		// In a new tree most are among those that were copied.
		i, err := p.todo.nars.Find(nar)
		if err != nil {
			return err
		}
		switch {
		case i >= 0 && p.fate.nars[i] == narThere && !p.holds(i, n):
			return &contentError{fmt.Errorf("it leads to %s, which holds another NAR", nar)}
		case i >= 0 && p.fate.nars[i] == narThere:
			return nil
		case i >= 0 && (p.fate.nars[i] == narBad || p.fate.nars[i] == narUnproved):
			return &contentError{fmt.Errorf("it leads to %s, which was left out", nar)}
		}
		if at, err := p.there.nars.Find(nar); err != nil || at >= 0 {
			return err
		}
		if i < 0 && p.run.keys != nil {
			if there, err := p.found(ctx, nar); err != nil || there {
				return err
			}
		}
	}
	return p.missing(ctx, of, nars, "it leads to "+string(nars[0]))
}

// needPath returns nil if the destination has the path that a realisation leads
// to, or the source does without it as well: true the realisation is
// nevertheless, and another cache may have the path.
func (p *pass) needPath(ctx context.Context, path layout.StorePath) error {
	id := refgraph.PackPath(path.Hash())
	if i, err := p.there.paths.Find(id[:]); err != nil || i >= 0 {
		return err
	}
	i, err := p.todo.paths.Find(id[:])
	if err != nil {
		return err
	}
	if i >= 0 {
		switch p.fate.graph.StateOf(int32(i)) {
		case refgraph.Published:
			return nil
		case refgraph.Out:
			return &contentError{fmt.Errorf("it leads to %s, which was left out", path)}
		}
	}
	key := layout.NarInfoKey(path)
	if p.run.keys != nil {
		if there, err := p.found(ctx, key); err != nil || there {
			return err
		}
	}
	if _, there, err := layout.Lookup(ctx, p.run.mirror.Source, key); err != nil || !there {
		return err
	}
	return notYetf("it leads to %s, which is not at the destination yet", path)
}

// missing says why what the object at key of needs is not at the destination:
// because the source has changed, or because the source is wrong.
func (p *pass) missing(ctx context.Context, of layout.Key, needed []layout.Key, what string) error {
	for _, key := range needed {
		if _, there, err := layout.Lookup(ctx, p.run.mirror.Source, key); err != nil {
			return err
		} else if there {
			return notYetf("%s, which is not at the destination yet", what)
		}
	}
	if _, there, err := layout.Lookup(ctx, p.run.mirror.Source, of); err != nil {
		return err
	} else if !there {
		return errWithdrawn
	}
	return &contentError{fmt.Errorf("%s, which the source does not have", what)}
}

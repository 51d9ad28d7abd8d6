package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// leftovers tells of NARs and listings that no narinfo needs.
func (c *check) leftovers(ctx context.Context) error {
	for _, n := range c.index.nars {
		if n.referenced {
			continue
		}
		p := Problem{Kind: UnreferencedNAR, Key: n.key, Detail: fmt.Sprintf("%d bytes", n.size)}
		if err := c.emit(finding{Problem: p}); err != nil {
			return err
		}
	}
	for _, e := range c.index.paths {
		if e.narinfo || e.retained {
			continue
		}
		if err := c.emit(finding{Problem: Problem{Kind: UnreferencedListing, Key: e.listingKey()}}); err != nil {
			return err
		}
	}
	return nil
}

// readDebugLink returns the file that a link leads to, and its NAR. The error is a
// badLink if the link makes no sense.
func (c *check) readDebugLink(ctx context.Context, key layout.Key) (link layout.DebugLink, nar layout.Key, err error) {
	text, err := layout.ReadAll(ctx, c.tree, key)
	if errors.Is(err, layout.ErrTooLarge) {
		return link, "", &badLink{err}
	}
	if err != nil {
		return link, "", err
	}
	if link, nar, err = layout.ParseDebugLink(key, text); err != nil {
		return link, "", &badLink{err}
	}
	return link, nar, nil
}

type badLink struct{ error }

// A linkOutcome is that of the check of one link.
type linkOutcome struct {
	key      layout.Key
	findings []finding
	nar      layout.Key
}

// debugInfo checks the links to debug symbols. A deep check learns which links
// lead to which NAR.
func (c *check) debugInfo(ctx context.Context) error {
	for l := range parallel.Map(ctx, smallJobs, slices.Values(c.index.debug), c.debugLink) {
		for _, f := range l.findings {
			if err := c.emit(f); err != nil {
				return err
			}
		}
		if n := c.index.nar(l.nar); c.o.Deep && n >= 0 {
			if c.links == nil {
				c.links = map[int32][]layout.Key{}
			}
			c.links[n] = append(c.links[n], l.key)
		}
	}
	return nil
}

func (c *check) debugLink(ctx context.Context, key layout.Key) linkOutcome {
	out := linkOutcome{key: key}
	_, nar, err := c.readDebugLink(ctx, key)
	bad := (*badLink)(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out // withdrawn
	case errors.As(err, &bad):
		out.findings = []finding{{Problem: Problem{Kind: BadDebugInfo, Key: key, Detail: bad.Error()}}}
		return out
	case err != nil:
		out.findings = []finding{{Problem{Key: key}, err}}
		return out
	}
	out.nar = nar
	if c.index.nar(nar) >= 0 {
		return out
	}
	if _, there, err := layout.Lookup(ctx, c.tree, nar); err != nil {
		out.findings = []finding{{Problem{Key: key}, err}}
	} else if !there {
		// A removal takes the link first: one that is still there is to blame.
		if _, there, err := layout.Lookup(ctx, c.tree, key); err != nil {
			out.findings = []finding{{Problem{Key: key}, err}}
		} else if there {
			out.findings = []finding{{Problem: Problem{Kind: DanglingDebugInfo, Key: key, Detail: string(nar) + " is not there"}}}
		}
	}
	return out
}

// realisations checks what outputs of derivations became.
func (c *check) realisations(ctx context.Context) error {
	for findings := range parallel.Map(ctx, smallJobs, slices.Values(c.index.realisations), c.realisation) {
		for _, f := range findings {
			if err := c.emit(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) realisation(ctx context.Context, key layout.Key) []finding {
	text, err := layout.ReadAll(ctx, c.tree, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, layout.ErrTooLarge) {
		return []finding{{Problem{Key: key}, err}}
	}
	var r layout.Realisation
	if err == nil {
		r, err = layout.ParseRealisation(key, text)
	}
	if err != nil {
		return []finding{{Problem: Problem{Kind: BadRealisation, Key: key, Detail: err.Error()}}}
	}
	if c.index.hasNarInfo(r.OutPath.Hash()) {
		return nil
	}
	if _, there, err := layout.Lookup(ctx, c.tree, layout.NarInfoKey(r.OutPath)); err != nil {
		return []finding{{Problem{Key: key, Path: r.OutPath}, err}}
	} else if !there {
		return []finding{{Problem: Problem{Kind: DanglingRealisation, Key: key, Path: r.OutPath}}}
	}
	return nil
}

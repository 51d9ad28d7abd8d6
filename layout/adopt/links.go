package adopt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A debugLink is one that is there.
type debugLink struct {
	info   layout.Info
	member string
}

// readLinks reads the links to debug symbols: they are to follow a NAR that gets another
// name, and to lead to a file in it.
func (a *adoption) readLinks(ctx context.Context) error {
	a.scan.linksTo = map[layout.Key][]debugLink{}
	if !a.scan.links {
		return nil
	}
	type outcome struct {
		link debugLink
		nar  layout.Key
	}
	items := func(yield func(layout.Key, error) bool) {
		for info, err := range a.tree.List(ctx, layout.DebugInfoFolder) {
			if (err != nil || info.Key.Kind() == layout.KindDebugInfo) && !yield(info.Key, err) {
				return
			}
		}
	}
	for r, err := range parallel.InOrder(ctx, smallJobs, items, nil, func(ctx context.Context, key layout.Key) (outcome, error) {
		text, info, err := layout.ReadVersion(ctx, a.tree, key)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
			return outcome{}, nil // the check in the end tells of it
		}
		if err != nil {
			return outcome{}, err
		}
		link, at, err := layout.ParseDebugLink(key, text)
		if err != nil {
			return outcome{}, nil
		}
		return outcome{debugLink{info, link.Member}, at}, nil
	}) {
		if err != nil {
			return err
		}
		if r.nar != "" {
			a.scan.linksTo[r.nar] = append(a.scan.linksTo[r.nar], r.link)
		}
	}
	return nil
}

// links finds out which links to debug symbols a path lacks. A link that leads to another
// NAR which is there stays.
func (a *adoption) links(ctx context.Context, c *change, debug []layout.DebugLink) error {
	moved := c.old != c.nar.Key && len(a.scan.linksTo[c.old]) > 0
	if !a.o.DebugInfo && !moved {
		return nil
	}
	for _, link := range debug {
		text := link.Marshal(c.nar.Key)
		for _, key := range link.Keys() {
			leads, to, err := a.leads(ctx, key)
			if err != nil {
				return err
			}
			if leads && to != c.old || to == c.nar.Key || !a.o.DebugInfo && to != c.old {
				continue
			}
			c.newLinks = append(c.newLinks, layout.Object{Key: key, Body: layout.Bytes(text)})
		}
	}
	return nil
}

// leads reports whether a link is there and the NAR that it leads to.
func (a *adoption) leads(ctx context.Context, key layout.Key) (bool, layout.Key, error) {
	text, err := layout.ReadAll(ctx, a.tree, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	_, to, err := layout.ParseDebugLink(key, text)
	if err != nil {
		return false, "", nil
	}
	_, there, err := layout.Lookup(ctx, a.tree, to)
	return there, to, err
}

// checkLinks tells of links to files that a NAR does not have.
func (a *adoption) checkLinks(key layout.Key, r *reading) error {
	links := a.scan.linksTo[key]
	if len(links) == 0 {
		return nil
	}
	root, err := nar.ParseListing(io.NewSectionReader(r.listing, 0, r.listing.Size()), layout.KindListing.MaxBytes())
	if err != nil {
		return err
	}
	for _, l := range links {
		n := root
		for name := range strings.SplitSeq(l.member, "/") {
			if n = n.Entries[name]; n == nil {
				break
			}
		}
		if n == nil || n.Type != nar.TypeRegular {
			a.tell(wrong{Finding{Kind: "dangling-debuginfo", Key: l.info.Key, Detail: fmt.Sprintf("no file %.300q in %s", l.member, key)}, l.info})
		}
	}
	return nil
}

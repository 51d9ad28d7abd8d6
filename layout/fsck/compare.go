package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// compareFile checks the file against its name. What is wrong with a file that
// has another hash is not told piece by piece, but whether the NAR is the right
// one nevertheless.
func (c *check) compareFile(key layout.Key, records []*layout.NarInfo, found *layout.Inspected, first bool, findings *[]finding) {
	sum, err := key.FileHash()
	if err != nil || sum == found.FileHash || !first {
		return
	}
	p := Problem{Kind: FileHash, Key: key, Detail: "it hashes to " + found.FileHash.String()}
	if len(records) > 0 {
		p.Path = records[0].Path
		switch {
		case found.Broken != nil:
			p.Detail += ", and holds no NAR: " + found.Broken.Error()
		case found.TooLong || found.NarHash != records[0].NarHash:
			p.Detail += ", and holds another NAR"
		default:
			p.Detail += "; the NAR in it is the right one"
		}
	}
	*findings = append(*findings, finding{Problem: p})
}

// compare checks one of the records that lead to a NAR.
func (c *check) compare(ctx context.Context, key layout.Key, n *layout.NarInfo, at int, found *layout.Inspected, findings *[]finding) {
	say := func(kind Kind, key layout.Key, format string, args ...any) {
		*findings = append(*findings, finding{Problem: Problem{kind, key, n.Path, fmt.Sprintf(format, args...)}})
	}
	sum, err := key.FileHash()
	right := err == nil && sum == found.FileHash
	record := layout.NarInfoKey(n.Path)
	switch {
	case found.Broken != nil:
		if right {
			say(BadNAR, key, "%v", found.Broken)
		}
		return
	case found.TooLong:
		if right {
			say(NarSize, record, "the NAR has more than the %d bytes it says", n.NarSize)
		}
		return
	case found.NarHash != n.NarHash:
		if right {
			say(NarHash, record, "it says %s, the NAR hashes to %s", n.NarHash, found.NarHash)
		}
		return
	case found.NarSize != n.NarSize:
		say(NarSize, record, "it says %d bytes, the NAR has %d", n.NarSize, found.NarSize)
	}
	proved := found.Proofs[at] == layout.Proved
	if n.CA != "" && n.CheckAddress(c.storeDir) == nil {
		if found.Proofs[at] == layout.Refuted {
			say(WrongCA, record, "%s is not what the content hashes to", n.CA)
		}
		// The quick check took it on trust.
		if kind, why := c.trust(n, proved); why != "" {
			say(kind, record, "%s, and is not proved by its content", why)
		}
	}
	c.compareListing(ctx, n, found, findings)
	if at == 0 {
		c.compareLinks(ctx, key, n, found, findings)
	}
}

func (c *check) compareListing(ctx context.Context, n *layout.NarInfo, found *layout.Inspected, findings *[]finding) {
	key := layout.ListingKey(n.Path)
	same, err := c.sameListing(ctx, key, found.Listing)
	bad := (*badListing)(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.As(err, &bad):
		// The quick check told of it.
	case err != nil:
		*findings = append(*findings, finding{Problem{Key: key, Path: n.Path}, err})
	case !same:
		*findings = append(*findings, finding{Problem: Problem{ListingDiffers, key, n.Path, ""}})
	}
}

// compareLinks checks that the debug files which links lead to are in the NAR.
func (c *check) compareLinks(ctx context.Context, key layout.Key, n *layout.NarInfo, found *layout.Inspected, findings *[]finding) {
	links := c.links[c.index.nar(key)]
	if len(links) == 0 {
		return
	}
	root, err := nar.ParseListing(io.NewSectionReader(found.Listing, 0, found.Listing.Size()), layout.KindListing.MaxBytes())
	if err != nil {
		*findings = append(*findings, finding{Problem{Key: key, Path: n.Path}, err})
		return
	}
	for _, k := range links {
		link, at, err := c.readDebugLink(ctx, k)
		bad := (*badLink)(nil)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.As(err, &bad):
			// Withdrawn, or the quick check told of it.
		case err != nil:
			*findings = append(*findings, finding{Problem{Key: k, Path: n.Path}, err})
		case at == key && !hasFile(root, link.Member):
			*findings = append(*findings, finding{Problem: Problem{DanglingDebugInfo, k, n.Path,
				fmt.Sprintf("no file %.300q in %s", link.Member, key)}})
		}
	}
}

func hasFile(n *nar.Node, path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if n = n.Entries[name]; n == nil {
			return false
		}
	}
	return n.Type == nar.TypeRegular
}

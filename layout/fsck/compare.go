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

// compareFile checks the file against its name and the FileHash of its records, and
// reports whether it is right. The differences of a wrong file are not told piece
// by piece, but whether the NAR is the right one nevertheless.
func (c *check) compareFile(ctx context.Context, key layout.Key, records []*layout.NarInfo, found *layout.Inspected, first bool, findings *[]finding) (right bool, err error) {
	if right, err = c.rightFile(ctx, key, records, found); right || err != nil || !first {
		return right, err
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
	return false, nil
}

// rightFile reports whether a file is what its name promises; and where the name
// promises nothing, or something else than the records say, what those say.
func (c *check) rightFile(ctx context.Context, key layout.Key, records []*layout.NarInfo, found *layout.Inspected) (bool, error) {
	whole := found.Broken == nil && !found.TooLong
	name, promised := key.NameHash()
	if promised && (name == found.FileHash || whole && name == found.NarHash) {
		return true, nil
	}
	for _, n := range records {
		fits := n.FileHash == found.FileHash || n.FileHash.IsZero() && whole && n.NarHash == found.NarHash
		if promised && fits {
			return true, nil // a name that was given when the NAR was compressed otherwise
		}
		if !promised && !n.FileHash.IsZero() && !fits {
			return false, nil
		}
	}
	if !promised || len(records) > 0 {
		return !promised, nil
	}
	if c.index.elsewhere(found.FileHash) {
		return true, nil // the name that it had before it was adopted, for those who remember that
	}
	body, info, err := c.tree.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer body.Close()
	return layout.HoldsNAR(ctx, key, body, info.Size, name)
}

// compare checks one of the records that lead to a NAR. No more is told of a file
// that is not right.
func (c *check) compare(ctx context.Context, key layout.Key, n *layout.NarInfo, at int, found *layout.Inspected, right bool, findings *[]finding) {
	say := func(kind Kind, key layout.Key, format string, args ...any) {
		*findings = append(*findings, finding{Problem: Problem{kind, key, n.Path, fmt.Sprintf(format, args...)}})
	}
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
	same, err := c.sameListing(ctx, key, found.Listing, found.FileHash)
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

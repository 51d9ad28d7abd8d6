package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// smallJobs is how many small objects are read at once: they cost a round trip
// each, where the tree is far away.
const smallJobs = 16

// A record is the outcome of the check of one narinfo.
type record struct {
	entry    int
	findings []finding
	nar      layout.Key // "" if it leads to none
	narSize  int64      // of the file; -1 if it is not there
	unsigned bool       // nothing vouches for it, neither a signature nor its content
}

// records checks every narinfo, with all that is small around it.
func (c *check) records(ctx context.Context) error {
	var narinfos iter.Seq[int] = func(yield func(int) bool) {
		for i := range c.index.paths {
			if c.index.paths[i].narinfo && !yield(i) {
				return
			}
		}
	}
	for r := range parallel.Map(ctx, max(smallJobs, c.o.Jobs), narinfos, c.record) {
		c.o.Progress.Paths.Add(1)
		if r.unsigned {
			c.o.Progress.Unsigned.Add(1)
		}
		for _, f := range r.findings {
			if err := c.emit(f); err != nil {
				return err
			}
		}
		n := c.index.nar(r.nar)
		if n < 0 && r.narSize >= 0 { // published since the listing
			n = int32(len(c.index.nars))
			c.index.nars = append(c.index.nars, narEntry{key: r.nar, size: r.narSize})
		}
		if n >= 0 {
			c.index.nars[n].referenced = true
			c.index.paths[r.entry].nar = n
		}
	}
	return nil
}

// record checks one narinfo. A wrong one is read again: if it went or changed
// meanwhile, so may have what it leads to, and all counts for nothing.
func (c *check) record(ctx context.Context, entry int) (r record) {
	key := c.index.paths[entry].narInfo()
	if c.o.Working != nil {
		c.o.Working(key)
	}
	var before []byte
	for range 10 { // no record changes more often than that while it is checked
		text, err := layout.ReadAll(ctx, c.tree, key)
		if before != nil && err == nil && bytes.Equal(text, before) {
			return r
		}
		r = record{entry: entry, narSize: -1}
		if errors.Is(err, fs.ErrNotExist) {
			return r // withdrawn
		}
		if errors.Is(err, layout.ErrTooLarge) {
			r.findings = []finding{{Problem: Problem{Kind: BadNarInfo, Key: key, Detail: err.Error()}}}
			return r
		}
		if err != nil {
			r.findings = []finding{{Problem{Key: key}, err}}
			return r
		}
		c.narInfo(ctx, key, text, &r)
		if len(r.findings) == 0 || ctx.Err() != nil {
			return r
		}
		before = text
	}
	return r
}

func (c *check) narInfo(ctx context.Context, key layout.Key, text []byte, r *record) {
	say := func(kind Kind, key layout.Key, path layout.StorePath, format string, args ...any) {
		r.findings = append(r.findings, finding{Problem: Problem{kind, key, path, fmt.Sprintf(format, args...)}})
	}
	n, err := layout.ParseNarInfo(text, c.storeDir)
	if err != nil {
		say(BadNarInfo, key, "", "%v", err)
		return
	}
	unknown := func(err error) { r.findings = append(r.findings, finding{Problem{Key: key, Path: n.Path}, err}) }
	nars, err := n.NARKeys()
	if err != nil && !errors.Is(err, layout.ErrMisnamed) {
		say(BadURL, key, n.Path, "%v", err)
	}
	r.nar = c.index.oneOf(nars)
	if n.Path.Hash() != key.PathHash() {
		say(WrongName, key, n.Path, "it is the narinfo of %s", n.Path)
		return
	}
	if r.nar != "" {
		c.narFile(ctx, n, r, say, unknown)
	}
	for _, ref := range n.References {
		if ref == n.Path || c.index.hasNarInfo(ref.Hash()) {
			continue
		}
		if c.o.Provided != nil {
			provided, err := c.o.Provided(ctx, ref)
			if err != nil {
				unknown(fmt.Errorf("cannot tell whether an upstream provides %s: %w", ref, err))
			}
			if err != nil || provided {
				continue
			}
		}
		if _, there, err := layout.Lookup(ctx, c.tree, layout.NarInfoKey(ref)); err != nil {
			unknown(err)
		} else if !there {
			say(MissingReference, key, n.Path, "refers to %s", ref)
		}
	}
	err = n.CheckAddress(c.storeDir)
	switch {
	case errors.Is(err, layout.ErrUnknownAddress):
		say(UnknownCA, key, n.Path, "%s", n.CA)
	case err != nil:
		say(WrongCA, key, n.Path, "%v", err)
	}
	r.unsigned = len(n.Sigs) == 0 && n.CA == ""
	if kind, why := c.trust(n, n.CA != "" && err == nil); why != "" {
		say(kind, key, n.Path, "%s", why)
	}
	c.listing(ctx, n.Path, r, say, unknown)
}

type sayFunc func(kind Kind, key layout.Key, path layout.StorePath, format string, args ...any)

// narFile checks what can be told of a NAR without reading it.
func (c *check) narFile(ctx context.Context, n *layout.NarInfo, r *record, say sayFunc, unknown func(error)) {
	key := layout.NarInfoKey(n.Path)
	if n.FileHash.IsZero() || n.FileSize == 0 {
		say(NoFileHash, key, n.Path, "")
	} else if _, err := n.NARKeys(); err != nil {
		say(FileHash, key, n.Path, "it says %s and leads to %s", n.FileHash, r.nar)
	}
	if i := c.index.nar(r.nar); i >= 0 {
		r.narSize = c.index.nars[i].size
	} else if info, there, err := layout.Lookup(ctx, c.tree, r.nar); err != nil {
		unknown(err)
		return
	} else if !there {
		say(MissingNAR, key, n.Path, "%s is not there", r.nar)
		return
	} else {
		r.narSize = info.Size
	}
	if n.FileSize != 0 && n.FileSize != r.narSize {
		say(FileSize, r.nar, n.Path, "it has %d bytes, the narinfo says %d", r.narSize, n.FileSize)
	}
}

// listing checks that a path has a listing that can be read.
func (c *check) listing(ctx context.Context, p layout.StorePath, r *record, say sayFunc, unknown func(error)) {
	key := layout.ListingKey(p)
	_, _, err := c.readListing(ctx, key)
	bad := (*badListing)(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		say(MissingListing, key, p, "")
	case errors.As(err, &bad):
		say(BadListing, key, p, "%v", bad.err)
	case err != nil:
		unknown(err)
	}
}

// trust says why a path is not to be trusted. A record that proves itself needs no
// signature.
func (c *check) trust(n *layout.NarInfo, proved bool) (Kind, string) {
	if len(c.o.Trusted) == 0 || proved {
		return 0, ""
	}
	good, bad := c.o.Trusted.Check(n.Sigs, n.Fingerprint(c.storeDir))
	switch {
	case good:
		return 0, ""
	case bad != "":
		return BadSignature, fmt.Sprintf("the signature by %s does not fit", bad)
	case len(n.Sigs) == 0:
		return Untrusted, "it has no signature"
	}
	var others []string
	for _, sig := range n.Sigs {
		name, _, _ := strings.Cut(sig, ":")
		others = append(others, name)
	}
	return Untrusted, "it is signed by " + strings.Join(others, ", ") + " alone"
}

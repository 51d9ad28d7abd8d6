package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// smallJobs is how many small objects are read at once.
const smallJobs = 16

// A scan is what a tree has, by its listing and its records.
type scan struct {
	nars     map[layout.Key]*narFile
	order    []layout.Key // of nars
	listings map[string]layout.Info
	paths    map[string]*path // by hash
	hashes   []string         // of paths, sorted
	links    bool             // there are links to debug symbols
	linksTo  map[layout.Key][]debugLink
}

// A narFile is a NAR with the paths whose records lead to it.
type narFile struct {
	info  layout.Info
	paths []string // hashes
	good  bool     // a record that is right leads to it, or will
}

// A path is what is known of a record.
type path struct {
	record layout.Info
	name   layout.StorePath // "" if the record cannot be read
	refs   []layout.StorePath
	right  bool
}

// list lists the tree.
func (a *adoption) list(ctx context.Context) error {
	s := &a.scan
	s.nars, s.listings, s.paths = map[layout.Key]*narFile{}, map[string]layout.Info{}, map[string]*path{}
	for info, err := range a.tree.List(ctx, "") {
		if entry := (*layout.EntryError)(nil); errors.As(err, &entry) {
			a.unknown(err)
			continue
		}
		if err != nil {
			return fmt.Errorf("list the cache: %w", err)
		}
		switch info.Key.Kind() {
		case layout.KindNAR:
			s.nars[info.Key] = &narFile{info: info}
			s.order = append(s.order, info.Key)
		case layout.KindNarInfo:
			s.paths[info.Key.PathHash()] = &path{record: info}
			s.hashes = append(s.hashes, info.Key.PathHash())
		case layout.KindListing:
			s.listings[info.Key.PathHash()] = info
		case layout.KindDebugInfo:
			s.links = true
		}
	}
	if len(s.nars)+len(s.paths) == 0 && !a.hasInfo {
		return ErrNoCache
	}
	slices.Sort(s.hashes)
	return nil
}

// records reads every record, and finds out which NAR it leads to.
func (a *adoption) records(ctx context.Context) error {
	items := func(yield func(string, error) bool) {
		for _, hash := range a.scan.hashes {
			if !yield(hash, nil) {
				return
			}
		}
	}
	type outcome struct {
		hash string
		n    *layout.NarInfo // nil if it is wrong, or gone
		info layout.Info
	}
	for r, err := range parallel.InOrder(ctx, smallJobs, items, nil, func(ctx context.Context, hash string) (outcome, error) {
		n, _, info, err := a.record(ctx, hash)
		return outcome{hash, n, info}, err
	}) {
		if err != nil {
			return err
		}
		a.o.Progress.Paths.Add(1)
		if r.n == nil {
			continue
		}
		p := a.scan.paths[r.hash]
		p.record, p.name, p.refs = r.info, r.n.Path, r.n.References
		if err := a.lead(ctx, r.hash, r.n); err != nil {
			return err
		}
	}
	for _, key := range a.scan.order {
		if f := a.scan.nars[key]; len(f.paths) > 0 || a.promises(key) {
			a.o.Progress.TotalNARs.Add(1)
			a.o.Progress.TotalBytes.Add(f.info.Size)
		}
	}
	return ctx.Err()
}

// promises reports whether the name of a NAR says what its bytes are: later writers rely
// on that (I4).
func (a *adoption) promises(key layout.Key) bool {
	_, promised := key.NameHash()
	return promised
}

// record reads the record of a path. It is nil, and told, if it is wrong.
func (a *adoption) record(ctx context.Context, hash string) (n *layout.NarInfo, text []byte, info layout.Info, err error) {
	key := layout.NarInfoKeyOf(hash)
	text, info, err = layout.ReadVersion(ctx, a.tree, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, info, nil
	case errors.Is(err, layout.ErrTooLarge):
		return nil, nil, info, a.wrongAt(ctx, Finding{Kind: "bad-narinfo", Key: key, Detail: err.Error()})
	case err != nil:
		return nil, nil, info, err
	}
	n, err = layout.ParseNarInfo(text, a.info.StoreDir)
	if err != nil {
		a.tell(wrong{Finding{Kind: "bad-narinfo", Key: key, Detail: err.Error()}, info})
		return nil, nil, info, nil
	}
	if n.Path.Hash() != hash {
		a.tell(wrong{Finding{Kind: "wrong-name", Key: key, Path: n.Path, Detail: fmt.Sprintf("it is the narinfo of %s", n.Path)}, info})
		return nil, nil, info, nil
	}
	return n, text, info, nil
}

// lead files a path under the NAR that its record leads to.
func (a *adoption) lead(ctx context.Context, hash string, n *layout.NarInfo) error {
	p := a.scan.paths[hash]
	keys, err := n.NARKeys()
	if err != nil && !errors.Is(err, layout.ErrMisnamed) {
		a.tell(wrong{Finding{Kind: "bad-url", Key: p.record.Key, Path: n.Path, Detail: err.Error()}, p.record})
		return nil
	}
	for _, key := range keys {
		if f := a.scan.nars[key]; f != nil {
			f.paths = append(f.paths, hash)
			return nil
		}
	}
	info, err := layout.FindNAR(ctx, a.tree, n) // it may have come since the listing
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.tell(wrong{Finding{Kind: "missing-nar", Key: p.record.Key, Path: n.Path, Detail: fmt.Sprintf("%s is not there", keys[0])}, p.record})
		return nil
	case err != nil:
		return err
	}
	a.scan.nars[info.Key] = &narFile{info: info, paths: []string{hash}}
	a.scan.order = append(a.scan.order, info.Key)
	return nil
}

// storeDirOf returns the store directory of a record, "" if it has none.
func storeDirOf(text []byte) string {
	n, err := layout.ParseNarInfo(text, "")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "StorePath: "); ok {
			if dir, ok := strings.CutSuffix(strings.TrimSpace(value), "/"+string(n.Path)); ok {
				return dir
			}
		}
	}
	return ""
}

package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A Plan says what a bundle is to hold.
type Plan struct {
	StoreDir string
	Lacking  []*Path // what the other side lacks, references first
	Present  int64   // paths of the closure that the other side has
}

// A Path is a store path of a plan. Its record is read again when it is written: a plan of
// many paths is not to hold all that is said of them.
type Path struct {
	Path       layout.StorePath
	References []layout.StorePath
	Size       int64 // bytes of the NAR's file; 0 if it is not known beforehand
	CA         bool  // it has a content address
}

// A MissingError says that neither side has a path of the closure.
type MissingError struct {
	Path      layout.StorePath // that refers to it
	Reference layout.StorePath // the path itself, or its record leads to a NAR that is not there
}

func (e *MissingError) Error() string {
	if e.Path == e.Reference {
		return fmt.Sprintf("the NAR of %s is not in the cache", e.Path)
	}
	return fmt.Sprintf("%s refers to %s, which neither side has", e.Path, e.Reference)
}

// ErrCycle says that paths refer to each other: they have no order in which the
// references of each are there before it (I3).
var ErrCycle = errors.New("paths refer to each other")

// Bytes returns the size of the NARs, as far as it is known.
func (p *Plan) Bytes() (n int64) {
	for _, path := range p.Lacking {
		n += path.Size
	}
	return n
}

// A walk goes through the closure of a plan.
type walk struct {
	cache    layout.Reader
	storeDir string
	have     *State
	seen     *atomic.Int64

	mu      sync.Mutex
	names   map[layout.StorePath]layout.StorePath // each path once: those of a record share its memory
	lacking map[layout.StorePath]*Path
	present int64
	known   map[layout.Key]bool // the keys of records that were met; true where the caller asked for them
	next    []layout.Key
}

// MakePlan finds out what of the closure of some paths the other side lacks; roots are the
// keys of their records, and none means all that the cache has. All records of the closure
// are read: the other side may have a path, and one that it refers to may be damaged there.
// Seen counts them meanwhile; it may be nil.
func MakePlan(ctx context.Context, cache layout.Reader, roots []layout.Key, have *State, seen *atomic.Int64) (*Plan, error) {
	info, err := layout.ReadCacheInfo(ctx, cache)
	if err != nil {
		return nil, err
	}
	if seen == nil {
		seen = new(atomic.Int64)
	}
	w := &walk{cache: cache, storeDir: info.StoreDir, have: have, seen: seen,
		names: map[layout.StorePath]layout.StorePath{}, lacking: map[layout.StorePath]*Path{}, known: map[layout.Key]bool{}}
	level := roots
	if len(roots) == 0 {
		for key, err := range layout.NarInfoKeys(ctx, cache) {
			if err != nil {
				return nil, err
			}
			if level = append(level, key); len(level) > MaxPaths {
				return nil, fmt.Errorf("more than %d paths", MaxPaths)
			}
		}
	}
	for _, key := range level {
		w.known[key] = len(roots) > 0
	}
	for len(level) > 0 {
		w.next = nil
		items := func(yield func(layout.Key, error) bool) {
			for _, key := range level {
				if !yield(key, nil) {
					return
				}
			}
		}
		if err := parallel.Each(ctx, stating, items, w.visit); err != nil {
			return nil, err
		}
		if level = w.next; len(w.known) > MaxPaths {
			return nil, fmt.Errorf("the closure has no end in sight: more than %d paths", MaxPaths)
		}
	}
	plan := &Plan{StoreDir: info.StoreDir, Present: w.present}
	if plan.Lacking, err = referencesFirst(w.lacking); err != nil {
		return nil, err
	}
	for _, path := range plan.Lacking {
		for _, ref := range path.References {
			// The other side may have it from elsewhere.
			if w.lacking[ref] == nil && !have.Has(ref) {
				return nil, &MissingError{path.Path, ref}
			}
		}
	}
	return plan, nil
}

// visit reads the record at a key, and notes what it refers to.
func (w *walk) visit(ctx context.Context, key layout.Key) error {
	w.seen.Add(1)
	w.mu.Lock()
	asked := w.known[key]
	w.mu.Unlock()
	n, _, err := readRecord(ctx, w.cache, key, w.storeDir)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil
	}
	if err != nil {
		return err
	}
	path := &Path{CA: n.CA != "", Size: n.FileSize}
	there := w.have.Has(n.Path)
	if !there {
		nar, err := layout.FindNAR(ctx, w.cache, n)
		if errors.Is(err, fs.ErrNotExist) {
			return &MissingError{n.Path, n.Path}
		}
		if err != nil {
			return err
		}
		if nar.Size >= 0 && !layout.TraitsOf(w.cache).Encoded {
			path.Size = nar.Size
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if there {
		w.present++
	} else {
		path.Path = once(w.names, n.Path)
		w.lacking[path.Path] = path
	}
	for _, ref := range n.References {
		if ref == n.Path {
			continue
		}
		if !there {
			path.References = append(path.References, once(w.names, ref))
		}
		if key := layout.NarInfoKey(ref); !has(w.known, key) {
			w.known[key] = false
			w.next = append(w.next, key)
		}
	}
	return nil
}

func has[K comparable, V any](m map[K]V, key K) bool { _, ok := m[key]; return ok }

// once returns the same path in memory that it returned before for an equal one.
func once(names map[layout.StorePath]layout.StorePath, p layout.StorePath) layout.StorePath {
	if name, ok := names[p]; ok {
		return name
	}
	p = layout.StorePath(strings.Clone(string(p)))
	names[p] = p
	return p
}

// readRecord reads the record at a key, and returns its text as well.
func readRecord(ctx context.Context, r layout.Reader, key layout.Key, storeDir string) (*layout.NarInfo, []byte, error) {
	text, err := layout.ReadAll(ctx, r, key)
	if err != nil {
		return nil, nil, err
	}
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	if n.Path.Hash() != key.PathHash() {
		return nil, nil, fmt.Errorf("read %s: it is the narinfo of %s", key, n.Path)
	}
	return n, text, nil
}

// referencesFirst orders paths so that each comes after all it refers to.
func referencesFirst(paths map[layout.StorePath]*Path) ([]*Path, error) {
	waits := map[layout.StorePath]int{}
	referrers := map[layout.StorePath][]*Path{}
	var ready []*Path
	for _, path := range paths {
		for _, ref := range path.References {
			if ref != path.Path && paths[ref] != nil {
				waits[path.Path]++
				referrers[ref] = append(referrers[ref], path)
			}
		}
		if waits[path.Path] == 0 {
			ready = append(ready, path)
		}
	}
	byName := func(a, b *Path) int { return strings.Compare(string(a.Path), string(b.Path)) }
	slices.SortFunc(ready, byName)
	order := make([]*Path, 0, len(paths))
	// The last that became ready goes first, so that a path is near what it refers to.
	for len(ready) > 0 {
		path := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		order = append(order, path)
		next := referrers[path.Path]
		slices.SortFunc(next, byName)
		for _, referrer := range next {
			if waits[referrer.Path]--; waits[referrer.Path] == 0 {
				ready = append(ready, referrer)
			}
		}
	}
	if len(order) < len(paths) {
		for _, path := range paths {
			if waits[path.Path] > 0 {
				return nil, fmt.Errorf("%s: %w: no order to publish them in has the references first", path.Path, ErrCycle)
			}
		}
	}
	return order, nil
}

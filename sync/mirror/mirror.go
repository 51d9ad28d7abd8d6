package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// A Mirror makes a destination equal to a source, object by object. Two sorted
// listings decide what is to be done; where they agree, nothing is asked.
//
// Immutable objects are equal if their sizes are: their names promise the rest.
// The others are equal if their versions (ETags) are known to be, from an
// earlier run or because both are MD5 sums; otherwise their bytes decide.
//
// Objects appear in the order of layout's kinds, a narinfo only when its NAR
// and all its references are there, level by level; nix-cache-info comes last.
// They go in the opposite order. So at every instant, and wherever a run is
// killed, a reader of the destination finds I2 and I3 to hold, and the next run
// goes on from there. Objects that are wrong in the source are left out and told
// in the end (see IncompleteError). Changes of the source during a run make it
// look again.
//
// The destination may be a web server that takes PUT (see PutServer): it cannot
// be listed, so it is asked for each object, and Delete is refused.
//
// Temporary files hold what is known of the objects: 53 bytes of each path that
// the destination has, some 120 of each to copy and, up to 256 MB in all, its
// narinfo. Memory holds nine bytes for each path to copy and half a byte for the
// others. A million objects that are all new make a process of 44 MB. A source
// may remember more: a layout.Dir holds the names in one directory while it
// lists it.
type Mirror struct {
	Source layout.Lister
	Dest   layout.Tree

	Delete bool          // what the source does not have
	Kinds  []layout.Kind // nil: all that are public
	// Jobs is how many objects are on their way at once. 0 is 16.
	Jobs      int
	Bandwidth int64 // bytes a second; 0 for no limit
	// Content compares the bytes of all objects, NARs too, and believes neither an
	// earlier run nor the size of what never changes. A NAR of the destination with
	// other bytes than its name says is replaced.
	Content bool
	// State is a file that remembers which versions are equal. It is a cache: if
	// it is lost or "", small objects are compared once more.
	State string
	// TempDir is for bodies on their way, and for what is known of the objects; ""
	// is the system's.
	TempDir string

	Progress *Progress   // may be nil
	Report   func(Event) // is told of each change, one at a time; may be nil

	Busy func(layout.Key) bool // the source's object is being written; nil: none is
}

const (
	defaultMirrorJobs = 16
	// passes is how often a run looks again because the source changed meanwhile.
	passes = 3
)

// ErrNoSource says that the source is not what it was taken for: a disk that is
// not mounted must not empty a mirror.
var ErrNoSource = errors.New("the source is no binary cache: it has no " + string(layout.CacheInfoKey))

var errBlindDelete = fmt.Errorf("what the destination has too much is not known: %w", layout.ErrNotListable)

// Run makes the destination equal to the source. Runs of several processes to
// one destination wait for each other, where it is a directory or a bucket.
func (m *Mirror) Run(ctx context.Context) error {
	r := m.newRun()
	differs, err := r.look(ctx)
	if err == nil && differs {
		err = r.locked(ctx, func(ctx context.Context) error { return r.all(ctx) })
	}
	if err != nil {
		return err
	}
	if err := r.carryRoots(ctx); err != nil {
		return err
	}
	return r.carryPolicy(ctx)
}

// RunKeys does the same for these keys alone, without listing anything, and
// deletes nothing. Objects that they need and the destination lacks are left
// for a Run, and the error tells so.
func (m *Mirror) RunKeys(ctx context.Context, keys []layout.Key) error {
	r := m.newRun()
	r.keys = slices.Clone(keys)
	slices.Sort(r.keys)
	r.keys = slices.Compact(r.keys)
	return r.locked(ctx, func(ctx context.Context) error { return r.all(ctx) })
}

// A Change is one thing that a Run would do.
type Change struct {
	Action Action // ActionCopy, ActionReplace or ActionDelete
	Key    layout.Key
	Size   int64 // of what would be there, or is
}

// Plan tells what a Run would do if nothing changed meanwhile, in the order of
// keys. It writes nothing. A Run may do less: what is wrong in the source shows
// only when it is read.
func (m *Mirror) Plan(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		r := m.newRun()
		if r.blind && r.mirror.Delete {
			yield(Change{}, errBlindDelete)
			return
		}
		known := false
		for d, err := range r.judged(ctx, r.pairs(ctx, ""), openLedger("")) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			known = known || d.key == layout.CacheInfoKey && d.inSrc
			if r.toDo(d) && !yield(d.change(), nil) {
				return
			}
		}
		if !known {
			yield(Change{}, ErrNoSource)
		}
	}
}

// wants reports whether objects of this kind are mirrored. The records of
// upstreams go with the narinfos.
func (m *Mirror) wants(key layout.Key) bool {
	kind := key.Kind()
	if kind == layout.KindPrivate {
		kind = layout.KindNarInfo
	}
	if kind == layout.KindPin && !m.Delete {
		return false // the destination has pins of its own, or may have
	}
	return m.Kinds == nil || slices.Contains(m.Kinds, kind)
}

package fsck

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// Options say how a tree is checked. The zero value is the quick check.
type Options struct {
	Deep bool // read every NAR too
	Jobs int  // NARs to read at once; 0 for one per processor
	// Trusted are the keys of which every path needs a good signature, unless it
	// is content-addressed: a quick check is content with an address that leads
	// to the path, a deep one wants the bytes to prove it. With no keys,
	// signatures are not looked at.
	Trusted signer.Trusted
	// Provided reports whether a named upstream provides a path that is referred
	// to and not in the tree (I3); an error means that it could not tell (I5). Nil:
	// none is provided.
	Provided func(context.Context, layout.StorePath) (bool, error)
	Progress *Progress // counts while the check runs, if not nil
	// Working is told of each narinfo and NAR when its check begins, by several
	// goroutines at once; may be nil.
	Working func(layout.Key)
}

// A Problem is something wrong in a tree, or a note.
type Problem struct {
	Kind   Kind             `json:"kind"`
	Key    layout.Key       `json:"key,omitempty"`  // of the object that is wrong
	Path   layout.StorePath `json:"path,omitempty"` // that suffers, if known
	Detail string           `json:"detail,omitempty"`
}

// String returns the problem as one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Kind.String())
	if p.Key != "" {
		b.WriteString(" " + string(p.Key))
	}
	if p.Path != "" {
		b.WriteString(" (" + string(p.Path) + ")")
	}
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	return b.String()
}

// Progress counts while a check runs. Another goroutine may read it.
type Progress struct {
	Paths, TotalPaths atomic.Int64 // narinfos
	NARs, TotalNARs   atomic.Int64 // read by a deep check, and to be read
	Bytes, TotalBytes atomic.Int64 // of NAR files, likewise
	Problems, Notes   atomic.Int64
	Unknown           atomic.Int64 // errors: what could not be told
	Unsigned          atomic.Int64 // narinfos without any signature and content address
}

// Check reads the tree and yields what is wrong, in an order that depends on
// the tree alone. An error comes with a Problem that says what it is about, as
// far as known: there the tree may be wrong or right. The check goes on after
// errors, but for a listing that ends early and a context that ends.
func Check(ctx context.Context, t layout.Tree, o Options) iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		c := &check{tree: t, o: o}
		if c.o.Jobs <= 0 {
			c.o.Jobs = runtime.GOMAXPROCS(0)
		}
		if c.o.Progress == nil {
			c.o.Progress = &Progress{}
		}
		stopped := errors.New("stopped")
		c.emit = func(f finding) error {
			switch {
			case f.err != nil && ctx.Err() != nil:
				return ctx.Err() // that says it all
			case f.err != nil:
				c.o.Progress.Unknown.Add(1)
			case f.Kind.Note():
				c.o.Progress.Notes.Add(1)
			default:
				c.o.Progress.Problems.Add(1)
			}
			if !yield(f.Problem, f.err) {
				return stopped
			}
			return nil
		}
		if err := c.run(ctx); err != nil && err != stopped {
			c.o.Progress.Unknown.Add(1)
			yield(Problem{}, err)
		}
	}
}

// Whole returns nil if the tree has no problems, and an error that lists them
// and what could not be told otherwise. Notes do not count.
func Whole(ctx context.Context, t layout.Tree, o Options) error {
	var errs []error
	for p, err := range Check(ctx, t, o) {
		switch {
		case err != nil:
			errs = append(errs, err)
		case !p.Kind.Note():
			errs = append(errs, errors.New(p.String()))
		}
	}
	return errors.Join(errs...)
}

// A finding is a problem, or an error about what Problem names.
type finding struct {
	Problem
	err error
}

// check is one run.
type check struct {
	tree     layout.Tree
	o        Options
	emit     func(finding) error // an error ends the run
	storeDir string
	index    *index
	links    map[int32][]layout.Key // of a deep check: the links to debug files in each NAR
}

func (c *check) run(ctx context.Context) error {
	steps := []func(context.Context) error{c.cacheInfo, c.scan, c.records, c.pins, c.withdrawn, c.leftovers, c.debugInfo, c.realisations}
	if c.o.Deep {
		steps = append(steps, c.nars)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// cacheInfo checks the description of the cache. A damaged one says nothing about
// the rest, which is then taken to be for the usual store.
func (c *check) cacheInfo(ctx context.Context) error {
	c.storeDir = layout.DefaultStoreDir
	text, err := layout.ReadAll(ctx, c.tree, layout.CacheInfoKey)
	p := Problem{Key: layout.CacheInfoKey}
	if errors.Is(err, fs.ErrNotExist) {
		p.Kind = NoCacheInfo
		return c.emit(finding{Problem: p})
	}
	if err != nil && !errors.Is(err, layout.ErrTooLarge) {
		return c.emit(finding{p, err})
	}
	info := layout.CacheInfo{}
	if err == nil {
		info, err = layout.ParseCacheInfo(text)
	}
	if err != nil {
		p.Kind, p.Detail = BadCacheInfo, err.Error()
		return c.emit(finding{Problem: p})
	}
	c.storeDir = info.StoreDir
	return nil
}

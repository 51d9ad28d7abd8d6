package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A tree may refer to paths that an upstream provides. The proof is
// private to the tree, see layout.Provision, and belongs to the copy all the same:
// without it, references of a narinfo would be missing (I3).
//
// The caches that a destination leans on become those of both trees, and none is
// ever taken away. Records go before the narinfos that need them, and are
// removed when all else went well. A server that takes PUT gets none: it knows
// its own upstreams.

// isProvision reports whether a key tells what a tree leans on.
func isProvision(key layout.Key) bool {
	return key == layout.UpstreamsKey || key.ProvisionHash() != ""
}

// provisions are what a pass has to do about them.
type provisions struct {
	there  []refgraph.PathID // at the destination, sorted
	copies []Change
	extra  []layout.Key

	read func() (*layout.Provision, error) // the source's

	mu    sync.Mutex
	named bool                     // the destination names all caches that the source does
	lent  map[refgraph.PathID]bool // put in this pass
}

// provisionPairs yields what the trees have of records of upstreams. If the
// source has none, the destination is not asked: most trees depend on no
// upstream.
func (r *run) provisionPairs(ctx context.Context) iter.Seq2[pair, error] {
	leans := false
	src := func(yield func(layout.Info, error) bool) {
		for info, err := range r.mirror.Source.List(ctx, layout.ProvisionsPrefix) {
			leans = true
			if !yield(info, err) {
				return
			}
		}
	}
	dst := func(yield func(layout.Info, error) bool) {
		if leans { // the source is asked first
			r.mirror.Dest.List(ctx, layout.ProvisionsPrefix)(yield)
		}
	}
	return diff(src, dst)
}

// compareUpstreams finds out whether the destination names all caches that the
// source does.
func (r *run) compareUpstreams(ctx context.Context, d *decision) error {
	ours, err := layout.ReadUpstreams(ctx, r.mirror.Source)
	if err != nil {
		return err
	}
	theirs, err := layout.ReadUpstreams(ctx, r.mirror.Dest)
	if err != nil {
		return err
	}
	equal := func(a, b layout.RecordedUpstream) bool { return a.URL == b.URL && slices.Equal(a.Keys, b.Keys) }
	if slices.EqualFunc(layout.AddUpstreams(theirs, ours), theirs, equal) {
		d.verdict, d.mark = same, markOf(d.src.ETag, d.dst.ETag)
	}
	return nil
}

// sortProvision is sort for a record of an upstream.
func (p *pass) sortProvision(d decision) {
	if d.key == layout.UpstreamsKey {
		p.provisions.named = d.verdict == same
		return
	}
	if d.inDst && d.verdict != differ {
		p.provisions.there = append(p.provisions.there, refgraph.PackPath(d.key.ProvisionHash()))
	}
	switch {
	case !p.run.toDo(d):
	case d.verdict == extra:
		p.provisions.extra = append(p.provisions.extra, d.key)
	default:
		p.provisions.copies = append(p.provisions.copies, d.change())
		p.run.progress.Objects.Add(1)
		p.run.progress.Bytes.Add(max(0, d.src.Size))
	}
}

// copyProvisions brings what the source leans on to the destination.
func (p *pass) copyProvisions(ctx context.Context) error {
	if len(p.provisions.there)+len(p.provisions.copies) == 0 {
		return nil
	}
	if err := p.nameUpstreams(ctx); err != nil {
		if err := p.leave(ctx, task{Change: Change{Key: layout.UpstreamsKey}}, err); err != nil {
			return err
		}
	}
	return p.copyTasks(ctx, func(yield func(task, error) bool) {
		for _, c := range p.provisions.copies {
			id := refgraph.PackPath(c.Key.ProvisionHash())
			if !yield(task{Change: c, done: func() { p.provisions.lend(id) }}, nil) {
				return
			}
		}
	})
}

// nameUpstreams has the destination name the caches that the source leans on:
// without their keys, their records prove nothing.
func (p *pass) nameUpstreams(ctx context.Context) error {
	p.provisions.mu.Lock()
	defer p.provisions.mu.Unlock()
	if p.provisions.named || !p.run.mirror.wants(layout.UpstreamsKey) {
		return nil
	}
	list, err := layout.ReadUpstreams(ctx, p.run.mirror.Source)
	if err != nil {
		return err
	}
	if err := layout.RecordUpstreams(ctx, p.run.mirror.Dest, list); err != nil {
		return &destError{err}
	}
	p.provisions.named = true
	p.run.report.event(Event{Action: ActionReplace, Key: layout.UpstreamsKey})
	return nil
}

// A destError is one of the destination where those of the source are expected.
type destError struct{ err error }

func (e *destError) Error() string { return "destination: " + e.err.Error() }
func (e *destError) Unwrap() error { return e.err }

// inspectProvision checks a record of an upstream as far as the mirror has to:
// who signed it, those find out who rely on it.
func (p *pass) inspectProvision(key layout.Key, text []byte) error {
	n, err := layout.ParseNarInfo(text, p.run.storeDir)
	if err == nil && n.Path.Hash() != key.ProvisionHash() {
		err = fmt.Errorf("it is the narinfo of %s", n.Path)
	}
	if err != nil {
		return &contentError{err}
	}
	return nil
}

// provided reports whether an upstream of the source's provides a path. If so,
// the destination knows by now, too.
func (p *pass) provided(ctx context.Context, path layout.StorePath) (bool, error) {
	provision, err := p.provisions.read()
	if err != nil {
		return false, err
	}
	ok, err := provision.Provides(ctx, path)
	if err != nil || !ok || p.run.blind {
		return ok, err
	}
	if err := p.nameUpstreams(ctx); err != nil {
		return false, err
	}
	id := refgraph.PackPath(path.Hash())
	if refgraph.FindPath(p.provisions.there, id) >= 0 || p.provisions.isLent(id) {
		return true, nil
	}
	// Either the run knows only the keys that it was given, or the source came
	// to lean on this since it was listed.
	f, err := p.fetch(ctx, task{Change: Change{Key: layout.ProvisionKey(path)}})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.release()
	if err := p.run.mirror.Dest.Put(ctx, layout.ProvisionKey(path), f.body, layout.PutOptions{}); err != nil {
		return false, &destError{err}
	}
	p.provisions.lend(id)
	return true, nil
}

func (v *provisions) lend(id refgraph.PathID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lent == nil {
		v.lent = map[refgraph.PathID]bool{}
	}
	v.lent[id] = true
}

func (v *provisions) isLent(id refgraph.PathID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lent[id]
}

// removeProvisions removes records that the source does not have. It waits for
// a run that left nothing else to do: then what the destination refers to is
// what the source refers to.
func (r *removal) removeProvisions(ctx context.Context) error {
	if r.pass.run.kept.Load() > 0 || r.pass.run.problems.err() != nil {
		return nil
	}
	return r.removeKeys(r.pass.provisions.extra)(ctx)
}

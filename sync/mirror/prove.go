package mirror

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// An unproved error says that the name of a NAR does not say what its bytes are,
// and that no record was asked.
type unproved struct {
	err error
	sum layout.Hash // of the bytes, if the name promises another
}

func (e *unproved) Error() string { return e.err.Error() }
func (e *unproved) Unwrap() error { return e.err }

// inspectNAR checks a NAR against what its name promises, or if a record led to
// it, against that (I1).
func (p *pass) inspectNAR(ctx context.Context, t task, sum layout.Hash, body layout.Body) error {
	file := io.NewSectionReader(body, 0, body.Size())
	named, ok := t.Key.NameHash()
	switch n := t.record; {
	case ok && named == sum:
		return nil
	case n == nil && ok:
		holds, err := layout.HoldsNAR(ctx, t.Key, file, body.Size(), named)
		if err == nil && !holds {
			err = &unproved{fmt.Errorf("its bytes hash to %s, which is not its name", sum.Nix32()), sum}
		}
		return err
	case n == nil:
		return &unproved{err: errors.New("its name does not say what it holds")}
	case !n.FileHash.IsZero():
		if sum != n.FileHash {
			return &contentError{fmt.Errorf("its bytes hash to %s, which is not what the narinfo of %s says", sum.Nix32(), n.Path)}
		}
		return nil
	default:
		found, err := layout.Inspect(ctx, file, n.Compression, p.run.storeDir, &n.PathInfo)
		if err != nil {
			return err
		}
		defer found.Close()
		if found.Broken != nil || found.TooLong || found.NarHash != n.NarHash || found.NarSize != n.NarSize {
			return &contentError{fmt.Errorf("it is not the NAR that the narinfo of %s says", n.Path)}
		}
		return nil
	}
}

// proveNARs copies the NARs whose names do not say what they hold, each checked
// against a record that leads to it (I1). It reads the records that are to be
// copied once more, and those that are not where NARs are left.
func (p *pass) proveNARs(ctx context.Context) error {
	if !slices.Contains(p.fate.nars, narUnproved) {
		return nil
	}
	p.fate.held = make([]uint64, len(p.fate.nars))
	b := &proofs{pass: p}
	for _, records := range []*refgraph.Shelf{p.todo.paths, p.there.paths} {
		if !slices.Contains(p.fate.nars, narUnproved) {
			break
		}
		if err := parallel.Each(ctx, p.run.jobs, pathsOf(records), b.read); err != nil {
			return err
		}
	}
	alone := 0
	for record, err := range p.todo.nars.All() {
		if err != nil {
			return err
		}
		if p.fate.nars[record.Number] != narUnproved {
			continue
		}
		_, named := record.Key.NameHash()
		switch why := p.fate.wrong[record.Number]; {
		case b.unread != nil:
			p.withhold(record.Key, notYetf("what leads to it cannot be told: %w", b.unread))
		case p.elsewhere(ctx, why):
			alone++
			p.run.progress.Objects.Add(-1)
		case why != nil:
			p.withhold(record.Key, &contentError{why})
		case p.run.keys != nil && !named:
			p.withhold(record.Key, notYetf("no narinfo leads to it yet, and its name does not say what it holds"))
		default:
			alone++
			p.run.progress.Objects.Add(-1)
		}
	}
	if alone > 0 {
		p.run.report.note(fmt.Sprintf("%d NARs were left out: their names do not say what they hold, and no narinfo leads to them", alone))
	}
	return nil
}

// elsewhere reports whether a NAR without a record is at the name of its bytes as well: an
// adopted tree keeps the name that clients may remember.
func (p *pass) elsewhere(ctx context.Context, why error) bool {
	var u *unproved
	if !errors.As(why, &u) || u.sum.IsZero() {
		return false
	}
	for _, suffix := range layout.NARSuffixes {
		if _, there, err := layout.Lookup(ctx, p.run.mirror.Source, layout.NARKey(u.sum, suffix[len(".nar"):])); there && err == nil {
			return true
		}
	}
	return false
}

// pathsOf yields the paths of a shelf whose records begin with their ids.
func pathsOf(s *refgraph.Shelf) iter.Seq2[refgraph.PathID, error] {
	return func(yield func(refgraph.PathID, error) bool) {
		for record, err := range s.All() {
			if !yield(refgraph.PathID(record.Bytes[:len(refgraph.PathID{})]), err) {
				return
			}
		}
	}
}

// proofs are under way: one at a time for each NAR.
type proofs struct {
	*pass
	locks [64]sync.Mutex

	mu     sync.Mutex
	unread error // a record that could not be read
}

// read reads a record and copies the NAR that it leads to.
func (b *proofs) read(ctx context.Context, id refgraph.PathID) error {
	key := id.NarInfoKey()
	text, err := layout.ReadAll(ctx, b.run.mirror.Source, key)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, layout.ErrTooLarge):
		return nil
	case err != nil:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.unread = err
		return nil
	}
	n, err := layout.ParseNarInfo(text, b.run.storeDir)
	if err != nil || layout.NarInfoKey(n.Path) != key {
		return nil // copyPaths tells of it
	}
	nars, err := n.NARKeys()
	if err != nil {
		return nil
	}
	for _, nar := range nars {
		i, err := b.todo.nars.Find(nar)
		if err != nil {
			return err
		}
		if i < 0 {
			continue
		}
		if err := b.prove(ctx, i, nar, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *proofs) prove(ctx context.Context, i int, key layout.Key, n *layout.NarInfo) error {
	lock := &b.locks[i%len(b.locks)]
	lock.Lock()
	defer lock.Unlock()
	if named, ok := key.NameHash(); b.fate.nars[i] != narUnproved || ok && named == n.FileHash {
		return nil // it was compared with its name
	}
	_, there, err := layout.Lookup(ctx, b.run.mirror.Dest, key)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	t := task{Change: Change{Action: action(there), Key: key}, record: n, done: func() {
		b.fate.nars[i], b.fate.held[i] = narThere, holding(n)
	}}
	f, err := b.fetch(ctx, t)
	if err != nil {
		return b.fail(ctx, i, err)
	}
	defer f.release()
	object := layout.Object{Key: key, Body: f.body, Opts: layout.PutOptions{IfAbsent: !there && key.Immutable()}}
	if _, err := layout.PutBatch(ctx, b.run.mirror.Dest, []layout.Object{object}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("destination: %w", err)
	}
	b.run.progress.ObjectsDone.Add(1)
	b.run.report.event(Event{Action: t.Action, Key: key, Size: f.body.Size()})
	t.done()
	return nil
}

// fail notes why a NAR was not proved, or returns the error that ends the run.
func (b *proofs) fail(ctx context.Context, i int, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*refgraph.SpoolError)), errors.As(err, new(*destError)):
		return err
	case !errors.Is(err, fs.ErrNotExist):
		b.cannotProve(i, err)
	}
	return nil
}

// cannotProve notes the first reason: of a NAR that is named by a hash, that it
// has another.
func (p *pass) cannotProve(i int, err error) {
	p.fate.mu.Lock()
	defer p.fate.mu.Unlock()
	if p.fate.wrong[i] == nil {
		p.fate.wrong[i] = err
	}
}

// holding tells NARs apart.
func holding(n *layout.NarInfo) uint64 { return binary.LittleEndian.Uint64(n.NarHash[:]) | 1 }

// holds reports whether a NAR that a record proved is that of another one too.
func (p *pass) holds(i int, n *layout.NarInfo) bool {
	return n == nil || p.fate.held == nil || p.fate.held[i] == 0 || p.fate.held[i] == holding(n)
}

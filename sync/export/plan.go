package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// A Plan says what an import would do.
type Plan struct {
	Missing []Step            // what the tree lacks, references first
	Present []layout.PathInfo // what it has already

	Provided []layout.StorePath // missing, and to be had from another cache
	Excluded []layout.StorePath // missing, and left out on request

	roots []layout.StorePath
	seen  layout.Sight // of the tree
}

// A Step is one store path to bring into the tree.
type Step struct {
	Info layout.PathInfo
	// Mend says that the tree has a record of the path which leads nowhere: its
	// NAR is gone or has another size, or the record is unreadable.
	Mend bool
}

// NarBytes returns the uncompressed size of all that is missing.
func (p *Plan) NarBytes() (n int64) {
	for _, s := range p.Missing {
		n += s.Info.NarSize
	}
	return n
}

// Plan finds out which paths of the closure of roots the tree lacks. It walks
// level by level: what the tree has is known from its own records, which cost no
// question to the source, and the source is asked for a whole level at once. A
// path that no trusted key vouches for is refused.
func (im *Run) Plan(ctx context.Context, roots []layout.StorePath) (*Plan, error) {
	since, err := layout.Look(ctx, im.Writer.Tree)
	if err != nil {
		return nil, err
	}
	plan := &Plan{roots: roots, seen: since}
	if asked, err := im.ask(ctx, plan); asked || err != nil {
		return plan, err
	}
	seen := map[layout.StorePath]bool{}
	missing := map[layout.StorePath]Step{}
	level := fresh(nil, roots, seen)
	for depth := 0; len(level) > 0; depth++ {
		if depth >= maxLevels || len(seen) > maxPaths {
			return nil, tooLong()
		}
		if im.Progress != nil {
			im.Progress.Planned.Add(int64(len(level)))
		}
		states, err := im.lookUp(ctx, level)
		if err != nil {
			return nil, err
		}
		var next, ask []layout.StorePath
		var mend []bool
		for i, p := range level {
			have, state := states[i].info, states[i].state
			if state == stateWhole && !im.Force {
				plan.Present = append(plan.Present, *have)
				if !im.NoClosure {
					next = fresh(next, have.References, seen)
				}
				continue
			}
			ask = append(ask, p)
			mend = append(mend, state == stateBroken)
		}
		if len(ask) > 0 {
			infos, err := im.Source.Infos(ctx, ask)
			if err != nil {
				return nil, err
			}
			for i, info := range infos {
				missing[info.Path] = Step{Info: info, Mend: mend[i]}
				if !im.NoClosure {
					next = fresh(next, info.References, seen)
				}
			}
		}
		level = next
	}
	return plan, im.decide(ctx, plan, missing)
}

// decide completes a plan, once it is known what the tree lacks.
func (im *Run) decide(ctx context.Context, plan *Plan, missing map[layout.StorePath]Step) (err error) {
	if err := im.withoutProvided(ctx, plan, missing); err != nil {
		return err
	}
	if im.NoClosure {
		if err := im.checkReferences(ctx, missing, plan); err != nil {
			return err
		}
	}
	if plan.Missing, err = referencesFirst(missing, plan.roots); err != nil {
		return err
	}
	im.withoutExcluded(plan)
	// Refused here, nothing was written for it yet.
	return im.checkSignatures(plan)
}

// asking is how many questions to other caches are under way at once.
const asking = 25

// withoutProvided takes out of what is missing what another cache provides.
func (im *Run) withoutProvided(ctx context.Context, plan *Plan, missing map[layout.StorePath]Step) error {
	if im.Provided == nil {
		return nil
	}
	paths := sortedKeys(missing)
	provided := make([]bool, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	for i, p := range paths {
		group.Go(func() (err error) {
			provided[i], err = im.Provided(ctx, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, p := range paths {
		if provided[i] {
			plan.Provided = append(plan.Provided, p)
			delete(missing, p)
		}
	}
	return nil
}

// withoutExcluded takes out of a plan what is to be left out. The paths that refer to
// it would be there without it (I3), and go with it.
func (im *Run) withoutExcluded(plan *Plan) {
	if im.Exclude == nil {
		return
	}
	out := map[layout.StorePath]bool{}
	plan.Missing = slices.DeleteFunc(plan.Missing, func(s Step) bool {
		p := s.Info.Path
		out[p] = im.Exclude(p) || slices.ContainsFunc(s.Info.References, func(ref layout.StorePath) bool { return out[ref] })
		if out[p] {
			plan.Excluded = append(plan.Excluded, p)
		}
		return out[p]
	})
}

// The closures of a Plan are bounded: a source that makes up references would
// have it ask for ever. Real ones have a few hundred levels.
const (
	maxLevels = 10_000
	maxPaths  = 5_000_000
)

// ErrEndless says that the references of a source have no end in sight.
var ErrEndless = errors.New("the closure has no end in sight")

func tooLong() error {
	return fmt.Errorf("%w: more than %d levels or %d paths", ErrEndless, maxLevels, maxPaths)
}

// fresh appends to list what was not seen before.
func fresh(list, paths []layout.StorePath, seen map[layout.StorePath]bool) []layout.StorePath {
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

type state int

const (
	stateAbsent state = iota
	stateBroken
	stateWhole
)

type found struct {
	state state
	info  *layout.PathInfo
}

// lookUp asks the tree for many paths, side by side.
func (im *Run) lookUp(ctx context.Context, paths []layout.StorePath) ([]found, error) {
	results := make([]found, len(paths))
	workers := runtime.GOMAXPROCS(0) * 2
	group, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		group.Go(func() error {
			for i := w; i < len(paths); i += workers {
				var err error
				if results[i], err = im.have(ctx, paths[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return results, group.Wait()
}

// have reports what the tree knows of p: whole only if the NAR is there too,
// with the size that the record tells.
func (im *Run) have(ctx context.Context, p layout.StorePath) (found, error) {
	tree := im.Writer.Tree
	text, err := layout.ReadAll(ctx, tree, layout.NarInfoKey(p))
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	n, err := layout.ParseNarInfo(text, im.Writer.StoreDir)
	if err != nil || n.Path != p {
		return found{state: stateBroken}, nil
	}
	info, err := layout.FindNAR(ctx, tree, n)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found{state: stateBroken}, nil
	case err != nil:
		return found{}, err
	case n.FileSize > 0 && info.Size != n.FileSize:
		return found{state: stateBroken}, nil
	}
	return found{stateWhole, &n.PathInfo}, nil
}

// checkReferences refuses paths whose references would not be there (I3).
func (im *Run) checkReferences(ctx context.Context, missing map[layout.StorePath]Step, plan *Plan) error {
	known := map[layout.StorePath]bool{}
	for _, info := range plan.Present {
		known[info.Path] = true
	}
	for _, p := range plan.Provided {
		known[p] = true
	}
	for p, step := range missing {
		for _, ref := range step.Info.References {
			if _, ok := missing[ref]; ok || known[ref] {
				continue
			}
			have, err := im.have(ctx, ref)
			if err != nil {
				return err
			}
			there := have.state == stateWhole
			if !there && im.Provided != nil {
				if there, err = im.Provided(ctx, ref); err != nil {
					return err
				}
			}
			if !there {
				return &MissingReferenceError{Path: p, Reference: ref}
			}
			known[ref] = true
		}
	}
	return nil
}

// A MissingReferenceError says that a path was to be imported without its
// closure, and that the tree lacks one of its references.
type MissingReferenceError struct{ Path, Reference layout.StorePath }

func (e *MissingReferenceError) Error() string {
	return fmt.Sprintf("%s refers to %s, which the cache does not have", e.Path, e.Reference)
}

// referencesFirst orders steps so that each comes after all it refers to. The
// walk keeps its own stack: chains of references may be long. Paths that refer
// to each other have no such order, and no Nix makes them: whichever came first
// would be there without its references (I3).
func referencesFirst(steps map[layout.StorePath]Step, roots []layout.StorePath) ([]Step, error) {
	order := make([]Step, 0, len(steps))
	begun, done := map[layout.StorePath]bool{}, map[layout.StorePath]bool{}
	type frame struct {
		path layout.StorePath
		refs []layout.StorePath
	}
	var stack []frame
	visit := func(p layout.StorePath) {
		if step, ok := steps[p]; ok && !begun[p] {
			begun[p] = true
			stack = append(stack, frame{p, step.Info.References})
		}
	}
	walk := func(root layout.StorePath) error {
		visit(root)
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.refs) == 0 {
				order = append(order, steps[top.path])
				done[top.path] = true
				stack = stack[:len(stack)-1]
				continue
			}
			ref := top.refs[0]
			top.refs = top.refs[1:]
			if begun[ref] && !done[ref] && ref != top.path {
				return fmt.Errorf("%s refers to %s, which leads back to it: no order to publish them in has the references first", top.path, ref)
			}
			visit(ref)
		}
		return nil
	}
	for _, p := range roots {
		if err := walk(p); err != nil {
			return nil, err
		}
	}
	// A path that only paths of the tree lead to has no root among the missing.
	for _, p := range sortedKeys(steps) {
		if err := walk(p); err != nil {
			return nil, err
		}
	}
	return order, nil
}

package export

import (
	"context"
	"errors"

	"github.com/nixstatic/nixstatic/layout"
)

// ask makes a plan for a tree that tells of many paths at once which it lacks: the
// source is asked for the closure, and then the tree a single time. It reports false for
// every other tree.
func (im *Run) ask(ctx context.Context, plan *Plan) (bool, error) {
	if !layout.TraitsOf(im.Writer.Tree).Blind {
		return false, nil
	}
	if im.Force {
		// The tree may learn of itself how it takes what is sent.
		if _, err := layout.Missing(ctx, im.Writer.Tree, nil); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return false, err
		}
		return false, nil
	}
	closure, order, err := im.closure(ctx, plan.roots)
	if err != nil {
		return false, err
	}
	lacks, err := layout.Missing(ctx, im.Writer.Tree, order)
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	missing := map[layout.StorePath]Step{}
	for _, p := range order {
		if lacks[p] {
			missing[p] = Step{Info: closure[p]}
		} else {
			plan.Present = append(plan.Present, closure[p])
		}
	}
	return true, im.decide(ctx, plan, missing)
}

// closure asks the source for the closure of roots, or for the roots alone if no closure
// is wanted, a level at a time.
func (im *Run) closure(ctx context.Context, roots []layout.StorePath) (closure map[layout.StorePath]layout.PathInfo, order []layout.StorePath, err error) {
	closure = map[layout.StorePath]layout.PathInfo{}
	seen := map[layout.StorePath]bool{}
	level := fresh(nil, roots, seen)
	for depth := 0; len(level) > 0; depth++ {
		if depth >= maxLevels || len(seen) > maxPaths {
			return nil, nil, tooLong()
		}
		if im.Progress != nil {
			im.Progress.Planned.Add(int64(len(level)))
		}
		infos, err := im.Source.Infos(ctx, level)
		if err != nil {
			return nil, nil, err
		}
		order = append(order, level...)
		var next []layout.StorePath
		for _, info := range infos {
			closure[info.Path] = info
			if !im.NoClosure {
				next = fresh(next, info.References, seen)
			}
		}
		level = next
	}
	return closure, order, nil
}

package gc

import (
	"context"
	"fmt"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A Chain is how a root leads to a path: the first refers to the second, and so
// on to the path itself.
type Chain struct {
	Root  string             `json:"root"`
	Paths []layout.StorePath `json:"paths"`
}

// Why returns a chain for each root that keeps a path, none if no root does. The
// error is a *MissingPathError if the path is not in the tree.
func Why(ctx context.Context, t layout.Tree, o Options, path layout.StorePath) ([]Chain, error) {
	o.Progress = orNew(o.Progress)
	v, err := look(ctx, t, o)
	if err != nil {
		return nil, err
	}
	target := v.find(refgraph.PackPath(path.Hash()))
	if target < 0 {
		return nil, &MissingPathError{path}
	}
	roots, _, err := v.roots(ctx, o)
	if err != nil {
		return nil, err
	}
	above := v.above([]int32{target})
	var chains []Chain
	for _, r := range roots {
		numbers := v.chain(r.paths, target, above)
		if numbers == nil {
			continue
		}
		chain := Chain{Root: r.name}
		for _, i := range numbers {
			p, err := v.pathOf(ctx, i)
			if err != nil {
				return nil, err
			}
			chain.Paths = append(chain.Paths, p)
		}
		chains = append(chains, chain)
	}
	return chains, nil
}

// look lists and reads a tree.
func look(ctx context.Context, t layout.Tree, o Options) (*view, error) {
	info, err := layout.ReadCacheInfo(ctx, t)
	if err != nil {
		return nil, err
	}
	m := recall(o.Memory)
	defer m.close()
	v, err := see(ctx, t, info.StoreDir, m, o)
	if err != nil {
		return nil, err
	}
	o.Progress.Listed.Store(int64(len(v.paths)))
	if err := v.read(ctx, m, o); err != nil {
		return nil, err
	}
	return v, nil
}

// pathOf reads the name of a path.
func (v *view) pathOf(ctx context.Context, i int32) (layout.StorePath, error) {
	key := v.id(i).NarInfoKey()
	text, err := layout.ReadAll(ctx, v.tree, key)
	if err != nil {
		return "", err
	}
	n, err := parseNarInfo(key, text, v.storeDir)
	if err != nil {
		return "", err
	}
	return n.Path, nil
}

// above returns paths with all that refer to them, however far up.
func (v *view) above(paths []int32) set {
	// The referrers of path i are up[from[i]:from[i+1]].
	from := make([]uint32, len(v.paths)+len(v.ghosts)+1)
	for i := range int32(len(v.paths)) {
		for _, ref := range v.references(i) {
			from[ref+1]++
		}
	}
	for i := range len(from) - 1 {
		from[i+1] += from[i]
	}
	up := make([]int32, v.refs.total)
	next := slices.Clone(from)
	for i := range int32(len(v.paths)) {
		for _, ref := range v.references(i) {
			up[next[ref]] = i
			next[ref]++
		}
	}
	s := v.newSet()
	var stack []int32
	for _, i := range paths {
		if s.add(i) {
			stack = append(stack, i)
		}
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, by := range up[from[i]:from[i+1]] {
			if s.add(by) {
				stack = append(stack, by)
			}
		}
	}
	return s
}

// chain returns a shortest way from one of the paths to target, nil if there is
// none. It stays within the paths above the target.
func (v *view) chain(from []int32, target int32, above set) []int32 {
	by := map[int32]int32{}
	var queue []int32
	for _, i := range from {
		if _, seen := by[i]; !seen && above.has(i) {
			by[i] = -1
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if i == target {
			var chain []int32
			for ; i >= 0; i = by[i] {
				chain = append(chain, i)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, ref := range v.references(i) {
			if _, seen := by[ref]; !seen && above.has(ref) {
				by[ref] = i
				queue = append(queue, ref)
			}
		}
	}
	return nil
}

// RecordedError says that a path was withdrawn and can be brought back.
type RecordedError struct {
	Path  layout.StorePath
	Epoch int64
}

func (e *RecordedError) Error() string {
	return fmt.Sprintf("%s was withdrawn by run %d", e.Path, e.Epoch)
}

// Recorded returns a *RecordedError if a record tells of a path, else nil.
func Recorded(ctx context.Context, t layout.Tree, path layout.StorePath) error {
	records, err := Records(ctx, t)
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(records) {
		for w, err := range r.Read(ctx, t) {
			if err != nil {
				return err
			}
			if w.Key == layout.NarInfoKey(path) {
				return &RecordedError{path, r.Epoch}
			}
		}
	}
	return nil
}

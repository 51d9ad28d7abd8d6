package gc

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Usage says what takes the bytes of a tree.
type Usage struct {
	Total   Size    `json:"total"`   // paths, and bytes of all objects
	ForUndo int64   `json:"forUndo"` // bytes that stay for an undo alone
	Roots   []Root  `json:"roots"`   // the one that alone keeps most first
	Kinds   []Share `json:"kinds"`   // objects and their bytes
	Months  []Share `json:"months"`  // paths by the month in which they came
}

// A Share is a part of a tree.
type Share struct {
	Name string `json:"name"` // of a kind, or such as 2030-01
	Size
}

// Measure finds out what takes the bytes of a tree. Every generation of a root
// counts, also those that the policy lets go. It changes nothing, and tells what is
// there while others write.
func Measure(ctx context.Context, t layout.Tree, o Options) (*Usage, error) {
	o.Progress, o.exact = orNew(o.Progress), true
	v, err := look(ctx, t, o)
	if err != nil {
		return nil, err
	}
	p := &Plan{v: v, o: o, weights: v.weights()}
	if p.keep, err = v.retains(ctx, o.Undo); err != nil {
		return nil, err
	}
	all := o
	if o.Policy != nil {
		policy := *o.Policy
		policy.Roots, policy.Expire = []RootRule{{"*", Keep{All: true}}}, nil
		all.Policy = &policy
	}
	list, _, err := v.roots(ctx, all)
	if err != nil {
		return nil, err
	}
	p.weigh(list)
	u := &Usage{Total: Size{int64(len(v.paths)), v.size}, Roots: p.Roots, ForUndo: p.forUndo(v.newSet())}
	for kind, size := range v.kinds {
		if size.Count > 0 {
			u.Kinds = append(u.Kinds, Share{layout.Kind(kind).String(), size})
		}
	}
	u.Months = v.months()
	return u, nil
}

// months returns when the paths of a view came. A NAR counts for the first that
// has it.
func (v *view) months() []Share {
	by := map[string]*Size{}
	seen := make([]bool, len(v.nars))
	for i, p := range v.paths {
		month := time.Unix(int64(p.born), 0).UTC().Format("2006-01")
		size := by[month]
		if size == nil {
			size = &Size{}
			by[month] = size
		}
		size.add(p.size())
		if nar := v.nar[i]; nar >= 0 && !seen[nar] {
			seen[nar] = true
			size.Bytes += v.nars[nar].size
		}
	}
	var months []Share
	for name, size := range by {
		months = append(months, Share{name, *size})
	}
	slices.SortFunc(months, func(a, b Share) int { return cmp.Compare(a.Name, b.Name) })
	return months
}

// Named reports whether a row is one that a word asks for: the name of a pin or root,
// with or without its generation, or a pattern of such.
func (r *Root) Named(word string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(r.Name, "pin "), "root ")
	before, _, _ := strings.Cut(name, "@")
	pattern := layout.RootPattern(word)
	return pattern.Match(r.Name) || pattern.Match(name) || pattern.Match(before)
}

package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
	"github.com/nixstatic/nixstatic/layout/roots"
)

// Keeps returns which generations of roots stay at a moment, of those that
// roots.Read returns. Each rule counts the generations that match it, for each name by
// itself.
func (p Policy) Keeps(all []roots.Generation, now time.Time) []bool {
	kept := make([]bool, len(all))
	for begin := 0; begin < len(all); {
		end := begin + 1
		for end < len(all) && all[end].ID.Root == all[begin].ID.Root {
			end++
		}
		if of := all[begin:end]; !p.expired(of, now) {
			p.keeps(of, now, kept[begin:end])
		}
		begin = end
	}
	return kept
}

// keeps does that for the generations of one name.
func (p Policy) keeps(of []roots.Generation, now time.Time, kept []bool) {
	for _, rule := range p.Roots {
		var at []int
		var moments []time.Time
		for i, g := range of {
			if rule.Pattern.MatchRun(g.ID) {
				at = append(at, i)
				moments = append(moments, g.Begun)
			}
		}
		for n, stays := range rule.Keep.Kept(moments, now) {
			kept[at[n]] = kept[at[n]] || stays
		}
	}
}

// expired reports whether a rule lets all generations of a name go.
func (p Policy) expired(of []roots.Generation, now time.Time) bool {
	var renewed time.Time
	for _, g := range of {
		if g.Renewed.After(renewed) {
			renewed = g.Renewed
		}
	}
	return slices.ContainsFunc(p.Expire, func(rule ExpireRule) bool {
		return renewed.Before(rule.Unrenewed.Before(now)) &&
			slices.ContainsFunc(of, func(g roots.Generation) bool { return rule.Pattern.MatchRun(g.ID) })
	})
}

// generations returns a root for each generation that stays, and notes the lists
// of the others.
func (v *view) generations(ctx context.Context, policy *Policy) ([]root, error) {
	all, err := roots.Read(ctx, v.tree, func(id refgraph.PathID) bool { return v.find(id) >= 0 })
	if err != nil {
		return nil, err
	}
	kept := make([]bool, len(all))
	for i := range kept {
		kept[i] = true
	}
	if policy != nil {
		kept = policy.Keeps(all, v.now)
	}
	v.lists = map[layout.Key]uint64{}
	v.idle, v.runs = nil, len(all)
	var list []root
	for i, g := range all {
		r := root{name: "root " + g.ID.String(), kind: rootOfRun, newest: g.Renewed}
		for _, l := range g.Lists {
			if l.Info.ETag == "" {
				return nil, fmt.Errorf("the cache does not tell one version of %s from another", l.Info.Key)
			}
			tag := tagOf(l.Info.ETag)
			v.lists[l.Info.Key] = tag
			r.lists = append(r.lists, victim{key: l.Info.Key, tag: tag, nar: -1, over: true})
			for _, id := range l.Members {
				if i := v.find(id); i >= 0 { // a push that was refused, or broke off, lists more
					r.paths = append(r.paths, i)
				}
			}
		}
		if kept[i] {
			list = append(list, r)
		} else {
			v.idle = append(v.idle, r.lists...)
		}
	}
	return list, nil
}

// newLists keeps what runs came to rely upon since the plan was made.
func (c *changes) newLists(ctx context.Context) error {
	infos, err := roots.Infos(ctx, c.v.tree)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if tag, known := c.v.lists[info.Key]; known && info.ETag != "" && tag == tagOf(info.ETag) {
			continue
		}
		l, err := roots.ReadList(ctx, c.v.tree, info)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, id := range l.Members {
			c.keep(id)
		}
	}
	return nil
}

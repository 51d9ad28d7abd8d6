package gc

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// withdrawAll withdraws the paths of the plan: each before all that it refers to.
func (s *sweep) withdrawAll(ctx context.Context) error {
	s.went = map[int32]bool{}
	realisations := s.realisations()
	var turnOf [][]int32
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		err := s.withdrawTurn(ctx, turnOf, realisations)
		turnOf, n = nil, 0
		return err
	}
	levels := s.v.levels(s.withdraw)
	if without.Order {
		slices.Reverse(levels)
	}
	for _, level := range levels {
		for len(level) > 0 {
			some := level[:min(len(level), turn-n)]
			level = level[len(some):]
			turnOf, n = append(turnOf, some), n+len(some)
			if n < turn {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
			if err := layout.Sleep(ctx, between); err != nil {
				return err
			}
		}
	}
	return flush()
}

// realisations returns those that lead to the paths of the plan.
func (s *sweep) realisations() map[int32][]otherEntry {
	going := s.v.newSet()
	for _, i := range s.withdraw {
		going.add(i)
	}
	of := map[int32][]otherEntry{}
	for _, o := range s.v.others {
		if o.key.Kind() != layout.KindRealisation || len(o.lead) != len(refgraph.PathID{}) {
			continue
		}
		if i := s.v.find(refgraph.PathID([]byte(o.lead))); i >= 0 && going.has(i) {
			of[i] = append(of[i], o)
		}
	}
	return of
}

// withdrawTurn withdraws some paths, level by level, with the realisations that
// lead to them.
//
// Dying before the record is written leaves everything as it was. After that, the
// record tells of paths that are still there, which an undo passes over. Once the
// first narinfo goes, those that are left have all that they lead to (I2, I3).
func (s *sweep) withdrawTurn(ctx context.Context, levels [][]int32, realisations map[int32][]otherEntry) error {
	texts, err := s.texts(ctx, levels, realisations)
	if err != nil {
		return err
	}
	return s.alone(ctx, func(ctx context.Context, c *changes) error {
		var groups [][]layout.Key
		var first []layout.Key // realisations
		var list []Withdrawn
		var paths []int32
		for _, level := range levels {
			var group []layout.Key
			for _, i := range level {
				key := s.v.id(i).NarInfoKey()
				text, there := texts[key]
				if !there {
					continue // another program removed it
				}
				if c.paths.has(i) {
					s.kept++
					continue
				}
				for _, o := range realisations[i] {
					same, err := s.unchanged(ctx, o.key, o.tag)
					if err != nil {
						return err
					}
					if text, read := texts[o.key]; same && read {
						first = append(first, o.key)
						list = append(list, Withdrawn{o.key, text})
					}
				}
				group = append(group, key)
				list = append(list, Withdrawn{key, text})
				paths = append(paths, i)
			}
			groups = append(groups, group)
		}
		if len(paths) == 0 {
			return nil
		}
		if !s.unrecorded && !without.Records {
			var err error
			if s.part, err = record(ctx, s.v.tree, s.state.Epoch, s.part, list); err != nil {
				return err
			}
		}
		if err := layout.DeleteBatch(ctx, s.v.tree, append([][]layout.Key{first}, groups...)...); err != nil {
			return err
		}
		s.o.gone(append(groups, first)...)
		for _, i := range paths {
			s.went[i] = true
			s.withdrew.add(s.v.bytesOf(i))
		}
		s.o.Progress.Withdrawn.Add(int64(len(paths)))
		return nil
	})
}

// texts reads what is about to go. A version that is read here and another one
// that goes would make the record wrong: alone compares them.
func (s *sweep) texts(ctx context.Context, levels [][]int32, realisations map[int32][]otherEntry) (map[layout.Key]string, error) {
	keys := func(yield func(layout.Key, error) bool) {
		for _, level := range levels {
			for _, i := range level {
				if !yield(s.v.id(i).NarInfoKey(), nil) {
					return
				}
				for _, o := range realisations[i] {
					if !yield(o.key, nil) {
						return
					}
				}
			}
		}
	}
	type read struct {
		key  layout.Key
		text []byte
	}
	texts := map[layout.Key]string{}
	for r, err := range parallel.InOrder(ctx, s.o.jobs(), keys, nil, func(ctx context.Context, key layout.Key) (read, error) {
		text, err := layout.ReadAll(ctx, s.v.tree, key)
		if errors.Is(err, fs.ErrNotExist) {
			return read{key: key}, nil
		}
		return read{key, text}, err
	}) {
		if err != nil {
			return nil, err
		}
		if r.text != nil {
			texts[r.key] = string(r.text)
		}
	}
	return texts, ctx.Err()
}

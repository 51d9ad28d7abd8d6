package gc

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// condemnRest begins a round with all that is dead and was not removed, if none is
// under way.
func (s *sweep) condemnRest(ctx context.Context) error {
	if s.state.State != layout.SweepIdle {
		s.ripe = s.o.round.ripeAt
		return nil
	}
	lists := s.lists()
	if len(lists) == 0 {
		return nil
	}
	proof, err := s.v.tree.(layout.Fenced).ProveFence(ctx)
	if err != nil {
		return err
	}
	if !proof.Conditions && !s.o.Alone {
		return ErrNoConditions
	}
	name := fmt.Sprintf("%08d-%s", s.state.Epoch+1, rand.Text())
	for n, list := range lists {
		// Dying between these leaves lists that no plan names.
		if err := s.v.tree.Put(ctx, layout.SweepListKey(name, n+1), layout.Bytes(list.Marshal()), layout.PutOptions{IfAbsent: true}); err != nil {
			return err
		}
	}
	err = s.change(ctx, func(p *layout.SweepPlan) {
		p.State, p.Round, p.Slices, p.Slice, p.Late = layout.SweepCondemned, name, len(lists), 0, int64(proof.Late/time.Second)
	})
	if err != nil {
		return err
	}
	for _, list := range lists {
		s.condemned += int64(len(list))
	}
	s.ripe = s.changed.Add(s.state.Fence())
	return nil
}

// lists returns all that is dead, in the order in which it may go: paths before what
// they refer to, and NARs last.
func (s *sweep) lists() (lists []layout.SweepList) {
	var list layout.SweepList
	levels := 0
	next := func() {
		if len(list) > 0 {
			lists = append(lists, list)
		}
		list, levels = nil, 0
	}
	add := func(key layout.Key, version uint64) {
		if len(list) >= turn {
			next()
			levels = 1
		}
		list = append(list, layout.Condemned{Key: layout.CondemnedKeyOf(key), Version: version})
	}
	goes := s.v.newSet()
	var dead []int32
	for i := range int32(len(s.v.paths)) {
		if !s.alive.has(i) {
			goes.add(i)
			if !s.went[i] {
				dead = append(dead, i)
			}
		}
	}
	if !s.o.ReclaimOnly {
		s.withdraw = dead
		realisations := s.realisations()
		order := s.v.levels(dead)
		if without.Order {
			slices.Reverse(order)
		}
		for _, level := range order {
			if levels++; levels > sliceLevels {
				next()
			}
			for _, i := range level {
				for _, o := range realisations[i] {
					add(o.key, 0)
				}
				add(s.v.id(i).NarInfoKey(), s.v.sentence(i))
			}
		}
		next()
	}
	if !s.o.NoReclaim {
		gone := map[layout.Key]bool{}
		for _, v := range s.reclaim {
			gone[v.key] = true
		}
		for _, v := range s.victims(goes, s.narsOf(func(i int32) bool { return !goes.has(i) })) {
			if !gone[v.key] || s.o.round == nil || !s.o.round.ripe {
				add(v.key, s.v.sentenceOf(v))
			}
		}
		next()
	}
	return lists
}

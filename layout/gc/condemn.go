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
	proof, err := layout.ProveFence(ctx, s.v.tree)
	if err != nil {
		return err
	}
	if !proof.Conditions && !s.o.Alone {
		return ErrNoConditions
	}
	if err := s.beginRound(ctx, lists, proof.Late); err != nil {
		return err
	}
	s.ripe = s.changed.Add(s.state.Fence())
	return nil
}

// beginRound condemns what the lists name.
func (s *sweep) beginRound(ctx context.Context, lists []layout.SweepList, late time.Duration) error {
	name := fmt.Sprintf("%08d-%s", s.state.Epoch+1, rand.Text())
	for n, list := range lists {
		// Dying between these leaves lists that no plan names.
		if err := s.v.tree.Put(ctx, layout.SweepListKey(name, n+1), layout.Bytes(list.Marshal()), layout.PutOptions{IfAbsent: true}); err != nil {
			return err
		}
		s.condemned += int64(len(list))
	}
	return s.change(ctx, func(p *layout.SweepPlan) {
		p.State, p.Round, p.Slices, p.Slice, p.Late = layout.SweepCondemned, name, len(lists), 0, int64(late/time.Second)
	})
}

// A slicer makes the lists of a round, in the order in which they are swept.
type slicer struct {
	lists  []layout.SweepList
	list   layout.SweepList
	levels int
}

// next ends a slice.
func (l *slicer) next() {
	if len(l.list) > 0 {
		l.lists = append(l.lists, l.list)
	}
	l.list, l.levels = nil, 0
}

func (l *slicer) add(key layout.Key, version uint64) {
	if len(l.list) >= turn {
		l.next()
		l.levels = 1
	}
	l.list = append(l.list, layout.Condemned{Key: layout.CondemnedKeyOf(key), Version: version})
}

// addPaths adds what s withdraws, paths before what they refer to.
func (l *slicer) addPaths(s *sweep) {
	realisations := s.realisations()
	order := s.v.levels(s.withdraw)
	if without.Order {
		slices.Reverse(order)
	}
	for _, level := range order {
		if l.levels++; l.levels > sliceLevels {
			l.next()
		}
		for _, i := range level {
			for _, o := range realisations[i] {
				l.add(o.key, 0)
			}
			l.add(s.v.id(i).NarInfoKey(), s.v.sentence(i))
		}
	}
	l.next()
}

// lists returns all that is dead, in the order in which it may go: paths before what
// they refer to, and NARs last.
func (s *sweep) lists() []layout.SweepList {
	var l slicer
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
		l.addPaths(s)
	}
	if !s.o.NoReclaim {
		gone := map[layout.Key]bool{}
		for _, v := range s.reclaim {
			gone[v.key] = true
		}
		for _, v := range s.victims(goes, s.narsOf(func(i int32) bool { return !goes.has(i) })) {
			if !gone[v.key] || s.o.round == nil || !s.o.round.ripe {
				l.add(v.key, s.v.sentenceOf(v))
			}
		}
		l.next()
	}
	return l.lists
}

package gc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/uses"
)

// reclaimAll removes the objects of the plan that nothing leads to, NARs last.
func (s *sweep) reclaimAll(ctx context.Context) error {
	s.stillVictims()
	for n := 0; n < len(s.reclaim); n += turn {
		if n > 0 {
			if err := layout.Sleep(ctx, between); err != nil {
				return err
			}
		}
		if err := s.reclaimTurn(ctx, s.reclaim[n:min(len(s.reclaim), n+turn)]); err != nil {
			return err
		}
	}
	return s.forget(ctx)
}

// stillVictims drops what the paths need that were to go and have stayed.
func (s *sweep) stillVictims() {
	if s.o.Undo <= 0 && len(s.went) < len(s.withdraw) {
		// Some of the paths whose objects were to go at once have stayed.
		goes := s.v.newSet()
		for i := range s.went {
			goes.add(i)
		}
		still := map[layout.Key]bool{}
		for _, gone := range s.victims(goes, s.narsOf(func(i int32) bool { return !goes.has(i) })) {
			still[gone.key] = true
		}
		s.reclaim = slices.DeleteFunc(s.reclaim, func(gone victim) bool { return !still[gone.key] })
	}
	if without.Order {
		slices.Reverse(s.reclaim)
	}
}

// reclaimTurn removes some objects. Dying in it leaves objects that nothing leads
// to.
func (s *sweep) reclaimTurn(ctx context.Context, some []victim) error {
	return s.alone(ctx, func(ctx context.Context, c *changes) error {
		var rest, nars []layout.Key
		for _, gone := range some {
			same, err := s.unchanged(ctx, gone.key, gone.tag)
			if err != nil {
				return err
			}
			if !same || c.wants(gone) {
				continue
			}
			if gone.key.Kind() == layout.KindNAR {
				nars = append(nars, gone.key)
			} else {
				rest = append(rest, gone.key)
			}
			s.reclaimed.add(gone.size)
		}
		if err := layout.DeleteBatch(ctx, s.v.tree, rest, nars); err != nil {
			return err
		}
		s.o.gone(rest, nars)
		s.o.Progress.Reclaimed.Add(int64(len(rest) + len(nars)))
		return nil
	})
}

// forget removes the records that can bring nothing back any more, and what tells of
// reads long ago.
func (s *sweep) forget(ctx context.Context) error {
	var keys []layout.Key
	for _, r := range s.keep.expired {
		keys = append(keys, r.Key)
	}
	if s.o.Undo <= 0 {
		for part := range s.part {
			keys = append(keys, recordKey(s.state.Epoch, part))
		}
	}
	pieces, err := s.oldPieces(ctx)
	if err != nil {
		return err
	}
	reads, err := uses.Before(ctx, s.v.tree, s.v.now.AddDate(0, 0, -uses.Remembered))
	if err != nil {
		return err
	}
	if keys = append(append(keys, pieces...), reads...); len(keys) == 0 {
		return nil
	}
	return layout.DeleteBatch(ctx, s.v.tree, keys)
}

// pieceAge is how old a piece of a NAR becomes at least before it goes. A server lets
// its clients' pieces go after a day.
const pieceAge = 48 * time.Hour

// oldPieces returns the pieces of NARs that a server which is gone left behind.
func (s *sweep) oldPieces(ctx context.Context) (keys []layout.Key, err error) {
	for info, err := range s.v.tree.List(ctx, layout.PiecesPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the pieces of NARs: %w", err)
		}
		if s.v.now.Sub(info.ModTime) > pieceAge {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

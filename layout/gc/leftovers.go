package gc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// leftoverAge is after how long no process is at work any more on an upload in parts:
// the next attempt at a NAR goes on with its parts.
const leftoverAge = 7 * 24 * time.Hour

// findLeftovers finds the uploads in parts that broke off. A store that does not tell of
// them keeps them.
func (p *Plan) findLeftovers(ctx context.Context) error {
	if p.o.NoReclaim {
		return nil
	}
	for l, err := range layout.Leftovers(ctx, p.v.tree, p.v.now.Add(-leftoverAge)) {
		if errors.Is(err, errors.ErrUnsupported) {
			break
		}
		if err != nil {
			return fmt.Errorf("list the cache: %w", err)
		}
		p.leftover = append(p.leftover, l)
	}
	p.Unfinished = len(p.leftover)
	return nil
}

// removeLeftovers removes them. No object rests on one.
func (s *sweep) removeLeftovers(ctx context.Context) error {
	for _, l := range s.leftover {
		if err := layout.RemoveLeftover(ctx, s.v.tree, l); err != nil {
			return err
		}
		s.unfinished++
	}
	return nil
}

package treetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// In a tree with a fence a request may get no answer and arrive later, at any turn
// until the fence has passed. Two more take part in a search: the network, which
// delivers such requests, and the clock.
const (
	theClock   = -2
	theNetwork = -3

	// anHour is long enough for all fences and leases to pass.
	anHour = 64 * time.Minute
	// lateBy is how late a request may be.
	lateBy = 58 * time.Minute
)

// ErrLost is what an operation returns that got no answer.
var ErrLost = errors.New("the request got no answer")

// A lateRequest is under way.
type lateRequest struct {
	what   string
	key    layout.Key
	until  time.Time
	happen func()
}

// FencedProcess returns the tree as a process sees it, without a gate.
func (t *Turns) FencedProcess(number int) *Fenced {
	t.fenced = true
	return &Fenced{process: process{t, number}}
}

// A Fenced is a tree of turns without a gate, as a process sees it.
type Fenced struct {
	process
	fence layout.Fence
}

// Fence returns what the process knows of removals.
func (p *Fenced) Fence() *layout.Fence { return &p.fence }

// ProveFence tells of a store that keeps to conditions.
func (p *Fenced) ProveFence(context.Context) (layout.FenceProof, error) {
	return layout.FenceProof{Conditions: true, Late: lateBy}, nil
}

// Put stores an object, now or later.
func (p *Fenced) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	what, err := p.turn(ctx, "put", key)
	if err != nil {
		return err
	}
	if layout.Late(ctx) && !p.t.Without.Until {
		return fmt.Errorf("put %s: %w", key, layout.ErrLate)
	}
	if publishes(key) && !layout.Timed(ctx) {
		p.t.breach("%s is put by a request without a time", key)
	}
	put := func(ctx context.Context) error { return p.t.Mem.Put(ctx, key, layout.Bytes(text), opts) }
	if what == lost {
		p.t.delay("put", key, func() { put(context.Background()) })
		return fmt.Errorf("put %s: %w", key, ErrLost)
	}
	return put(ctx)
}

// publishes reports whether readers believe what is at a key.
func publishes(key layout.Key) bool {
	kind := key.Kind()
	return kind == layout.KindNarInfo || kind == layout.KindRealisation || strings.HasPrefix(string(key), layout.PinHistoryPrefix)
}

// Delete removes an object. If the request gets no answer, it is made again, and
// the first one may arrive as well.
func (p *Fenced) Delete(ctx context.Context, key layout.Key) error {
	what, err := p.turn(ctx, "delete", key)
	if err != nil {
		return err
	}
	if layout.Late(ctx) && !p.t.Without.Until {
		return fmt.Errorf("delete %s: %w", key, layout.ErrLate)
	}
	if what == lost {
		p.t.delay("delete", key, func() { p.t.Mem.Delete(context.Background(), key) })
		if err := p.t.Mem.Delete(ctx, key); err != nil {
			return err
		}
		return fmt.Errorf("delete %s: %w", key, layout.ErrUnanswered)
	}
	return p.t.Mem.Delete(ctx, key)
}

// DeleteBatch goes on after a removal without an answer, and tells of it in the end.
func (p *Fenced) DeleteBatch(ctx context.Context, groups ...[]layout.Key) error {
	var unanswered error
	for _, group := range groups {
		for _, key := range group {
			err := p.Delete(ctx, key)
			if errors.Is(err, layout.ErrUnanswered) {
				unanswered = err
			} else if err != nil {
				return errors.Join(err, unanswered)
			}
		}
	}
	return unanswered
}

// canBeLost reports whether the search is to try what happens if an operation gets
// no answer.
func (t *Turns) canBeLost(turn *Turn) bool {
	if !t.fenced || len(t.late) > 0 {
		return false
	}
	switch turn.Op {
	case "put":
		return turn.Key.Kind() == layout.KindNarInfo || turn.Key.Kind() == layout.KindNAR || turn.Key.Kind() == layout.KindListing
	case "delete":
		return true
	}
	return false
}

func (t *Turns) delay(what string, key layout.Key, happen func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = append(t.late, &lateRequest{what, key, time.Now().Add(lateBy), happen})
}

// pending returns the requests that may arrive now.
func (t *Turns) pending() (turns []*Turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = slices.DeleteFunc(t.late, func(l *lateRequest) bool { return time.Now().After(l.until) })
	for _, l := range t.late {
		turns = append(turns, &Turn{Process: theNetwork, Op: l.what + " arrives:", Key: l.key})
	}
	return turns
}

// arrive lets a request happen.
func (t *Turns) arrive(turn *Turn) {
	t.mu.Lock()
	i := slices.IndexFunc(t.late, func(l *lateRequest) bool { return l.key == turn.Key })
	l := t.late[i]
	t.late = slices.Delete(t.late, i, i+1)
	t.mu.Unlock()
	l.happen()
}

// Arrive lets all requests happen that may.
func (t *Turns) Arrive() {
	for _, turn := range t.pending() {
		t.arrive(turn)
	}
}

// breach notes what no tree may be asked for.
func (t *Turns) breach(format string, args ...any) {
	t.Mem.mu.Lock()
	defer t.Mem.mu.Unlock()
	t.Mem.broken = append(t.Mem.broken, fmt.Sprintf(format, args...))
}

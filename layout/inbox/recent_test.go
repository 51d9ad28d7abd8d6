package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

func TestRecent(t *testing.T) {
	forgotten := map[layout.Key]int{}
	r := newRecent(10*(itemCost+10), func(key layout.Key, v int) { forgotten[key] += v })
	key := func(i int) layout.Key { return layout.Key(fmt.Sprint(i)) }
	for i := range 10 {
		r.put("", key(i), 1, 10)
	}
	r.get(key(0))
	r.put("", key(10), 1, 10)
	if len(forgotten) != 1 || forgotten[key(1)] != 1 {
		t.Errorf("forgotten: %v, want the one that was used longest ago", forgotten)
	}
	r.put("", key(10), 2, 0)
	if forgotten[key(10)] != 1 || r.cost != 10*itemCost+90 {
		t.Errorf("forgotten: %v, cost %d", forgotten, r.cost)
	}
	r.put("", "large", 1, 1<<20)
	if len(r.items) != 0 || r.cost != 0 || len(r.clients) != 0 || forgotten["large"] != 1 || forgotten[key(10)] != 3 {
		t.Errorf("%d items of cost %d are left; forgotten: %v", len(r.items), r.cost, forgotten)
	}
}

func TestLocks(t *testing.T) {
	var l locks
	var users sync.WaitGroup
	counts := map[layout.Key]*int{"a": new(int), "b": new(int)}
	for range 100 {
		for key, n := range counts {
			users.Go(func() {
				unlock, err := l.lock(context.Background(), key)
				if err != nil {
					t.Error(err)
					return
				}
				*n++
				unlock()
			})
		}
	}
	users.Wait()
	unlock, err := l.lock(t.Context(), "a")
	if err != nil || *counts["a"] != 100 || *counts["b"] != 100 {
		t.Errorf("%v, counted %d and %d", err, *counts["a"], *counts["b"])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is taken, after the end: %v", err)
	}
	unlock()
	if len(l.keys) != 0 {
		t.Errorf("%d locks are left", len(l.keys))
	}
}

// A client that takes much of a table makes room for one that takes little.
func TestRecentShares(t *testing.T) {
	r := newRecent(100*itemCost, func(layout.Key, int) {})
	for i := range 1000 {
		r.put("a", layout.Key(fmt.Sprint("a", i)), i, 0)
	}
	for i := range 50 {
		r.put("b", layout.Key(fmt.Sprint("b", i)), i, 0)
	}
	r.put("a", "a", 0, 0)
	for client, want := range map[share.Client]int{"a": 50, "b": 50} {
		if got := r.clients[client].order.Len(); got != want {
			t.Errorf("%s has %d of 100 places, want %d", client, got, want)
		}
	}
	if r.cost > r.limit || len(r.items) != 100 {
		t.Errorf("%d items of cost %d", len(r.items), r.cost)
	}
}

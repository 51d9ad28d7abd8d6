package inbox

import (
	"container/list"
	"iter"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
)

// A recent is a table of bounded cost that forgets what was used longest ago.
// It is not safe for concurrent use.
type recent[V any] struct {
	limit  int64
	cost   int64
	order  *list.List // of *item[V], the latest used first
	items  map[layout.Key]*list.Element
	forgot func(layout.Key, V) // is told of everything that leaves
}

type item[V any] struct {
	key   layout.Key
	value V
	cost  int64
}

// itemCost is what an item takes in memory beyond what it holds.
const itemCost = 512

func newRecent[V any](limit int64, forgot func(layout.Key, V)) *recent[V] {
	return &recent[V]{limit: limit, order: list.New(), items: map[layout.Key]*list.Element{}, forgot: forgot}
}

func (r *recent[V]) get(key layout.Key) (v V, ok bool) {
	e, ok := r.items[key]
	if !ok {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*item[V]).value, true
}

// put adds an item in the place of the one of that key. One that costs more
// than the limit leaves again at once, and so does all else.
func (r *recent[V]) put(key layout.Key, v V, cost int64) {
	r.remove(key)
	cost += itemCost
	r.items[key] = r.order.PushFront(&item[V]{key, v, cost})
	r.cost += cost
	for r.cost > r.limit {
		r.remove(r.order.Back().Value.(*item[V]).key)
	}
}

func (r *recent[V]) remove(key layout.Key) {
	e, ok := r.items[key]
	if !ok {
		return
	}
	i := r.order.Remove(e).(*item[V])
	delete(r.items, key)
	r.cost -= i.cost
	r.forgot(key, i.value)
}

// clear removes everything.
func (r *recent[V]) clear() {
	for key := range r.items {
		r.remove(key)
	}
}

// all yields every item without touching the order.
func (r *recent[V]) all() iter.Seq2[layout.Key, V] {
	return func(yield func(layout.Key, V) bool) {
		for key, e := range r.items {
			if !yield(key, e.Value.(*item[V]).value) {
				return
			}
		}
	}
}

// shared frees something when the last one who uses it is done: what a table
// forgets may be in use.
type shared struct {
	users atomic.Int32
	free  func() // nil if there is nothing to free
}

func (s *shared) retain() { s.users.Add(1) }

func (s *shared) release() {
	if s.users.Add(-1) == 0 && s.free != nil {
		s.free()
	}
}

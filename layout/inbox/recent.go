package inbox

import (
	"container/list"
	"iter"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A recent is a table of bounded cost. When it is full it forgets something of the
// client that takes most of it: what was used longest ago. It is not safe for
// concurrent use.
type recent[K comparable, V any] struct {
	limit   int64
	cost    int64
	items   map[K]*list.Element
	clients map[share.Client]*part
	forgot  func(K, V) // is told of everything that leaves
}

// A part of a table is what one client has of it.
type part struct {
	cost  int64
	order *list.List // of *item, the latest used first
}

type item[K comparable, V any] struct {
	key    K
	value  V
	cost   int64
	client share.Client
}

// itemCost is what an item takes in memory beyond what it holds.
const itemCost = 512

func newRecent[K comparable, V any](limit int64, forgot func(K, V)) *recent[K, V] {
	return &recent[K, V]{limit: limit, items: map[K]*list.Element{}, clients: map[share.Client]*part{}, forgot: forgot}
}

func (r *recent[K, V]) get(key K) (v V, ok bool) {
	e, ok := r.items[key]
	if !ok {
		return v, false
	}
	i := e.Value.(*item[K, V])
	r.clients[i.client].order.MoveToFront(e)
	return i.value, true
}

// put adds an item of a client in the place of the one of that key. An item that
// costs more than the limit leaves again at once, and so does all else of the
// client.
func (r *recent[K, V]) put(client share.Client, key K, v V, cost int64) {
	r.remove(key)
	cost += itemCost
	p := r.clients[client]
	if p == nil {
		p = &part{order: list.New()}
		r.clients[client] = p
	}
	r.items[key] = p.order.PushFront(&item[K, V]{key, v, cost, client})
	p.cost += cost
	r.cost += cost
	for r.cost > r.limit {
		for _, other := range r.clients {
			if other.cost > p.cost {
				p = other
			}
		}
		r.remove(p.order.Back().Value.(*item[K, V]).key)
	}
}

func (r *recent[K, V]) remove(key K) {
	e, ok := r.items[key]
	if !ok {
		return
	}
	i := e.Value.(*item[K, V])
	p := r.clients[i.client]
	p.order.Remove(e)
	delete(r.items, key)
	p.cost -= i.cost
	r.cost -= i.cost
	if p.order.Len() == 0 {
		delete(r.clients, i.client)
	}
	r.forgot(key, i.value)
}

// expire removes what is too old.
func (r *recent[K, V]) expire(old func(V) bool) {
	for key, v := range r.all() {
		if old(v) {
			r.remove(key)
		}
	}
}

// clear removes everything.
func (r *recent[K, V]) clear() { r.expire(func(V) bool { return true }) }

// all yields every item without touching the order.
func (r *recent[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, e := range r.items {
			if !yield(key, e.Value.(*item[K, V]).value) {
				return
			}
		}
	}
}

// of yields the items of a client without touching the order.
func (r *recent[K, V]) of(client share.Client) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		p := r.clients[client]
		if p == nil {
			return
		}
		for e := p.order.Front(); e != nil; e = e.Next() {
			if i := e.Value.(*item[K, V]); !yield(i.key, i.value) {
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

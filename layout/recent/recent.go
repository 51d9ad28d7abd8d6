// Package recent remembers what was asked for lately, in bounded memory.
package recent

import "sync"

// itemCost is what an item takes in memory beside its value, in bytes.
const itemCost = 512

// A Table remembers values until those that came later cost too much, in two
// generations of half the limit each: a value that is not asked for during a whole
// generation is forgotten. It may be used from several goroutines.
type Table[K comparable, V any] struct {
	Limit int64 // in bytes; nothing is remembered that costs more than half of it

	mu         sync.RWMutex
	young, old map[K]item[K, V]
	cost       int64 // of young
}

type item[K comparable, V any] struct {
	key   K // as it was put: that of a Get may be a part of something larger
	value V
	cost  int64
}

// Get returns the value of a key.
func (t *Table[K, V]) Get(key K) (V, bool) {
	t.mu.RLock()
	found, young := t.young[key]
	ok := young
	if !young {
		found, ok = t.old[key]
	}
	t.mu.RUnlock()
	if ok && !young {
		t.put(found)
	}
	return found.value, ok
}

// Put remembers a value that costs so many bytes in the place of an earlier one.
func (t *Table[K, V]) Put(key K, v V, cost int64) { t.put(item[K, V]{key, v, cost + itemCost}) }

func (t *Table[K, V]) put(i item[K, V]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cost -= t.young[i.key].cost
	delete(t.young, i.key)
	delete(t.old, i.key)
	if i.cost > t.Limit/2 {
		return
	}
	if t.young == nil || t.cost+i.cost > t.Limit/2 {
		t.young, t.old, t.cost = map[K]item[K, V]{}, t.young, 0
	}
	t.young[i.key] = i
	t.cost += i.cost
}

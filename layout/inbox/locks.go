package inbox

import (
	"context"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// locks is a lock for each key, as long as someone wants it. It orders what
// this process does; against others the tree's own conditions guard. Clients take
// turns, so that one that asks again and again does not keep others waiting.
//
// A caller that takes two takes that of the narinfo first, that of the NAR
// second.
type locks struct {
	mu   sync.Mutex
	keys map[layout.Key]*keyLock
}

// A keyLock is locked while it is known.
type keyLock struct {
	waiting []lockWaiter          // in the order of their arrival
	served  map[share.Client]bool // who had a turn in this round
}

type lockWaiter struct {
	client share.Client
	turn   chan struct{} // closed when it has the lock
}

// lock waits for the lock of key, or for the end of ctx.
func (l *locks) lock(ctx context.Context, key layout.Key) (unlock func(), err error) {
	client := share.From(ctx)
	unlock = func() { l.next(key) }
	l.mu.Lock()
	k := l.keys[key]
	if k == nil {
		if l.keys == nil {
			l.keys = map[layout.Key]*keyLock{}
		}
		l.keys[key] = &keyLock{served: map[share.Client]bool{client: true}}
		l.mu.Unlock()
		return unlock, nil
	}
	w := lockWaiter{client, make(chan struct{})}
	k.waiting = append(k.waiting, w)
	l.mu.Unlock()

	select {
	case <-w.turn:
		return unlock, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(k.waiting, w)
	if i >= 0 {
		k.waiting = slices.Delete(k.waiting, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		unlock() // it came at the same moment
	}
	return nil, ctx.Err()
}

// next gives the lock to the first of those whose client had no turn in this
// round.
func (l *locks) next(key layout.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if len(k.waiting) == 0 {
		delete(l.keys, key)
		return
	}
	i := slices.IndexFunc(k.waiting, func(w lockWaiter) bool { return !k.served[w.client] })
	if i < 0 {
		clear(k.served)
		i = 0
	}
	w := k.waiting[i]
	k.waiting = slices.Delete(k.waiting, i, i+1)
	k.served[w.client] = true
	close(w.turn)
}

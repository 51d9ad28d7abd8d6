package inbox

import (
	"context"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// locks is a lock for each key, as long as someone wants it. It orders what
// this process does; against others the tree's own conditions guard.
//
// A caller that takes two takes that of the narinfo first, that of the NAR
// second.
type locks struct {
	mu   sync.Mutex
	keys map[layout.Key]*keyLock
}

type keyLock struct {
	token   chan struct{} // holds one element while the lock is free
	waiting int           // who has the lock or wants it
}

// lock waits for the lock of key, or for the end of ctx.
func (l *locks) lock(ctx context.Context, key layout.Key) (unlock func(), err error) {
	l.mu.Lock()
	if l.keys == nil {
		l.keys = map[layout.Key]*keyLock{}
	}
	k := l.keys[key]
	if k == nil {
		k = &keyLock{token: make(chan struct{}, 1)}
		k.token <- struct{}{}
		l.keys[key] = k
	}
	k.waiting++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.waiting--; k.waiting == 0 {
			delete(l.keys, key)
		}
	}
	select {
	case <-k.token:
		return func() {
			k.token <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

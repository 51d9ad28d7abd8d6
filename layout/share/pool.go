package share

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrBusy says that a part was not to be had in time.
var ErrBusy = errors.New("too much is in use")

// maxWaiting is how many requests of one client may wait for a pool by default. Each of
// them costs a connection, and what that has received already.
const maxWaiting = 256

// hurryEvery is how often those who wait hurry others.
const hurryEvery = time.Second

// A Pool is a number of places or bytes that clients share. It is safe for
// concurrent use.
type Pool struct {
	total    int64
	patience time.Duration
	queue    int // requests of one client that may wait

	mu      sync.Mutex
	used    int64
	held    map[Client]int64
	parts   map[*Part]bool // those that can be hurried
	waiting []*waiter      // in the order of their arrival
}

// A waiter is a request that waits for its part to become larger by more.
type waiter struct {
	client Client
	more   int64
	got    chan struct{} // closed when it has it
}

// NewPool returns a pool of a size. A request that cannot have its part waits,
// for no longer than patience.
func NewPool(total int64, patience time.Duration) *Pool {
	return &Pool{total: total, patience: patience, queue: maxWaiting, held: map[Client]int64{}, parts: map[*Part]bool{}}
}

// WithQueue lets so many requests of one client wait, for work that is a part of requests
// which are bounded themselves. It is for a pool that is not in use yet.
func (p *Pool) WithQueue(most int) *Pool {
	p.queue = most
	return p
}

// A Part of a pool belongs to one request. Its methods are for one goroutine.
type Part struct {
	pool   *Pool
	client Client
	size   int64
	hurry  func(waited time.Duration)
}

// Take returns a part of that size for the client of ctx. The error is ErrBusy,
// or that of ctx. A size that the pool does not have, or no client may have, is
// ErrBusy at once. The part of a nil pool costs nothing.
func (p *Pool) Take(ctx context.Context, size int64) (*Part, error) {
	part := &Part{pool: p, client: From(ctx).Pseudonym()}
	part.hurry, _ = ctx.Value(hurryKey{}).(func(time.Duration))
	if err := part.Resize(ctx, size); err != nil {
		return nil, err
	}
	return part, nil
}

// Size returns how much a part has.
func (t *Part) Size() int64 { return t.size }

// Try is Take without waiting: the error is ErrBusy if the part is not to be had at once.
func (p *Pool) Try(ctx context.Context, size int64) (*Part, error) {
	part := &Part{pool: p, client: From(ctx).Pseudonym(), size: size}
	if p == nil {
		return part, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.free(part.client, size) {
		return nil, ErrBusy
	}
	p.give(part.client, size)
	return part, nil
}

// Resize makes the part larger or smaller. It waits only to become larger, and
// keeps what it has if that fails.
func (t *Part) Resize(ctx context.Context, size int64) error {
	p, more := t.pool, size-t.size
	if p == nil {
		t.size = size
		return nil
	}
	p.mu.Lock()
	if more <= 0 || p.free(t.client, more) {
		p.give(t.client, more)
		t.hold(size)
		p.serve()
		p.mu.Unlock()
		return nil
	}
	mine := 0
	for _, w := range p.waiting {
		if w.client == t.client {
			mine++
		}
	}
	if p.patience <= 0 || mine >= p.queue || t.size+more > (p.total+1)/2 {
		p.mu.Unlock()
		return ErrBusy
	}
	w := &waiter{t.client, more, make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	if err := p.wait(ctx, w); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.hold(size)
	return nil
}

// hold notes the size of a part, and that it can be hurried.
func (t *Part) hold(size int64) {
	if t.size = size; size > 0 && t.hurry != nil {
		t.pool.parts[t] = true
	} else {
		delete(t.pool.parts, t)
	}
}

// wait waits for a part, and hurries others meanwhile.
func (p *Pool) wait(ctx context.Context, w *waiter) (err error) {
	start := time.Now()
	end, tick := time.NewTimer(p.patience), time.NewTicker(hurryEvery)
	defer end.Stop()
	defer tick.Stop()
	for err == nil {
		select {
		case <-w.got:
			return nil
		case <-tick.C:
			p.hurry(w, time.Since(start))
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-end.C:
			err = ErrBusy
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, w)
	if i < 0 {
		p.give(w.client, -w.more) // it came at the same moment
	} else {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.serve()
	return err
}

// hurry tells those that hold more than twice as much as the client of a waiter
// that it waits. Two clients alone never hurry each other: each has its share.
func (p *Pool) hurry(w *waiter, waited time.Duration) {
	p.mu.Lock()
	var slow []func(time.Duration)
	for part := range p.parts {
		if part.client != w.client && p.held[part.client] > 2*p.held[w.client] {
			slow = append(slow, part.hurry)
		}
	}
	p.mu.Unlock()
	for _, hurry := range slow {
		hurry(waited)
	}
}

// Release gives the part back. A second time it does nothing.
func (t *Part) Release() {
	if t == nil || t.pool == nil {
		return
	}
	p := t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give(t.client, -t.size)
	t.hold(0)
	p.serve()
}

// free reports whether a client may have more at this moment.
func (p *Pool) free(c Client, more int64) bool {
	return Fair(p.total, p.used, p.held[c.Pseudonym()], more)
}

// Fair reports whether a client that holds a part of what is used of a total may
// have more: it never holds more than it leaves, rounded in its favour.
func Fair(total, used, mine, more int64) bool { return mine+more <= (total-used+mine+1)/2 }

func (p *Pool) give(c Client, more int64) {
	p.used += more
	if p.held[c] += more; p.held[c] == 0 {
		delete(p.held, c)
	}
}

// serve gives what is free to those who wait: first to the client that holds
// least, among the requests of one in the order of their arrival. A client that
// asks for much does not keep others from less.
func (p *Pool) serve() {
	for {
		next := -1
		for i, w := range p.waiting {
			if p.free(w.client, w.more) && (next < 0 || p.held[w.client] < p.held[p.waiting[next].client]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := p.waiting[next]
		p.waiting = slices.Delete(p.waiting, next, next+1)
		p.give(w.client, w.more)
		close(w.got)
	}
}

package roots

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
	"github.com/nixstatic/nixstatic/layout/share"
)

// The bounds of what a Recorder holds and of what one client makes it write.
const (
	// listMembers is how many paths a list has before the next one begins: each
	// batch writes it anew.
	listMembers = 2000
	// maxOpen is how many runs are remembered, of one client half of them.
	maxOpen = 2048
	// maxMembers is how many paths of these are remembered, of one client half of
	// them.
	maxMembers = 1 << 20
	// dailyRuns and dailyMembers are how many runs a client may begin in a day, and
	// how many paths it may list.
	dailyRuns    = 10_000
	dailyMembers = 20_000_000
	// maxWaits is how many paths of one client may wait to be written.
	maxWaits = 1 << 18
	// maxWriting is how many lists are written at the same time. Each has a few files open,
	// also when the request is gone that began it. writingPatience is how long the next one
	// waits.
	maxWriting      = 16
	writingPatience = time.Minute
)

// A Recorder writes down what runs rely upon, for the clients of one process. It is
// safe for concurrent use.
type Recorder struct {
	tree   layout.Tree
	now    func() time.Time
	places *share.Pool // of what is written

	mu      sync.Mutex
	open    map[legID]*leg
	clients map[share.Client]*account
	members int
	used    uint64 // counts uses, for the age of legs
	writing sync.WaitGroup
}

// An account is what a client has had of the bounds.
type account struct {
	day           int64
	runs, members int // of that day
	open, holds   int // now
	waits         int // paths that are to be written
}

// A legID is that of a run, for one client. A client that names the run of another has
// lists of its own, which count for it alone.
type legID struct {
	layout.RunID
	client share.Client
}

// A leg is the part of a run that passes through this process.
type leg struct {
	id   legID
	used uint64

	seen    layout.Sight // since when nothing was removed from the tree
	has     map[refgraph.PathID]bool
	name    string // of its lists
	part    int
	begun   time.Time
	list    []refgraph.PathID // of the present part
	next    *batch            // what waits for its turn
	writing bool
}

// A batch is what is written at once.
type batch struct {
	add  []refgraph.PathID
	done chan struct{}
	err  error
}

// NewRecorder returns the recorder of a tree.
func NewRecorder(t layout.Tree) *Recorder {
	return &Recorder{tree: t, now: time.Now, places: share.NewPool(maxWriting, writingPatience),
		open: map[legID]*leg{}, clients: map[share.Client]*account{}}
}

// Close waits for what is being written.
func (r *Recorder) Close() { r.writing.Wait() }

// Note writes down that a run relies on store paths, given by their hashes. When it
// returns without an error, that is durable, and nothing that was not removed before
// is removed while the run counts: the caller looks whether the paths are there
// after that. The error is layout.ErrTooManyRuns if the client may not have more, and
// share.ErrBusy if it has too many under way.
func (r *Recorder) Note(ctx context.Context, id layout.RunID, hashes ...string) error {
	rely, err := layout.Rely(ctx, r.tree, layout.Sight{})
	if err != nil {
		return err
	}
	sight := rely.Sight()
	rely.Release()
	wait, err := r.join(ctx, id, sight, hashes, nil)
	if errors.Is(err, errNoPlace) {
		place, busy := r.places.Take(ctx, 1)
		if busy != nil {
			return fmt.Errorf("write down what %s relies on: %w", id, busy)
		}
		wait, err = r.join(ctx, id, sight, hashes, place)
	}
	if err != nil || wait == nil {
		return err
	}
	select {
	case <-wait.done:
		return wait.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errNoPlace says that a leg is to be written, and that nothing writes it yet.
var errNoPlace = errors.New("a place is needed")

// join adds hashes to what is to be written of a run, and returns the batch to wait for,
// nil if all of them are written. The place is for writing them; without one the
// error is errNoPlace where it is needed. join gives it back where another one writes.
func (r *Recorder) join(ctx context.Context, id layout.RunID, sight layout.Sight, hashes []string, place *share.Part) (*batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.legOf(share.From(ctx), id, sight)
	if err != nil {
		place.Release()
		return nil, err
	}
	a, missing := r.account(l.id.client), l.missing(hashes, l.seen == sight)
	if a.waits > maxWaits {
		place.Release()
		return nil, fmt.Errorf("write down what %s relies on: %w", id, share.ErrBusy)
	}
	if len(missing) > 0 && !l.writing {
		if place == nil {
			return nil, errNoPlace
		}
		l.writing = true
		r.writing.Go(func() { r.write(context.WithoutCancel(ctx), l, place) })
	} else {
		place.Release()
	}
	if len(missing) == 0 {
		return nil, nil
	}
	if l.next == nil {
		l.next = &batch{done: make(chan struct{})}
	}
	l.next.add = append(l.next.add, missing...)
	a.waits += len(missing)
	return l.next, nil
}

// missing returns those of the hashes that are not written, or not known to be there still.
func (l *leg) missing(hashes []string, sound bool) (ids []refgraph.PathID) {
	for _, hash := range hashes {
		if id := refgraph.PackPath(hash); !sound || !l.has[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// legOf returns the leg of a run. If something was removed since its last list was
// written, the list may be among it: a new one is begun.
func (r *Recorder) legOf(client share.Client, id layout.RunID, sight layout.Sight) (*leg, error) {
	r.used++
	a := r.account(client)
	of := legID{id, client}
	l := r.open[of]
	if l != nil && !l.writing && (l.seen != sight || len(l.has) > maxMembers/2) {
		r.forget(l)
		l = nil
	}
	if a.members > dailyMembers || l == nil && a.runs >= dailyRuns {
		return nil, fmt.Errorf("%w: %d runs and %d paths in them since the day began", layout.ErrTooManyRuns, a.runs, a.members)
	}
	if l != nil {
		l.used = r.used
		return l, nil
	}
	a.runs++
	for a.open >= maxOpen/2 || len(r.open) >= maxOpen || a.holds > maxMembers/2 || r.members > maxMembers {
		full := len(r.open) >= maxOpen || r.members > maxMembers
		if !r.forgetOldest(client, full && a.open == 0) {
			break
		}
	}
	l = &leg{id: of, used: r.used, seen: sight, has: map[refgraph.PathID]bool{},
		name: strings.ToLower(rand.Text()), begun: r.now().UTC()}
	r.open[of] = l
	a.open++
	return l, nil
}

func (r *Recorder) account(client share.Client) *account {
	day := r.now().Unix() / (24 * 60 * 60)
	a := r.clients[client]
	if a == nil {
		for other, b := range r.clients { // those that are gone
			if b.open == 0 && b.day != day {
				delete(r.clients, other)
			}
		}
		a = &account{day: day}
		r.clients[client] = a
	}
	if a.day != day {
		a.day, a.runs, a.members = day, 0, 0
	}
	return a
}

// forgetOldest forgets the run that was used longest ago, of one client or of all.
// Only the memory of the process goes: lists that are written stay.
func (r *Recorder) forgetOldest(client share.Client, ofAll bool) bool {
	var oldest *leg
	for _, l := range r.open {
		if (ofAll || l.id.client == client) && !l.writing && l.next == nil && (oldest == nil || l.used < oldest.used) {
			oldest = l
		}
	}
	if oldest != nil {
		r.forget(oldest)
	}
	return oldest != nil
}

func (r *Recorder) forget(l *leg) {
	if r.open[l.id] != l {
		return
	}
	delete(r.open, l.id)
	a := r.account(l.id.client)
	a.open--
	a.holds -= len(l.has)
	r.members -= len(l.has)
}

// write writes what waits of a leg, batch by batch: what comes meanwhile is the next
// batch. Each batch has a place, so that the runs of a client take turns.
func (r *Recorder) write(ctx context.Context, l *leg, place *share.Part) {
	var busy error
	for {
		r.mu.Lock()
		b := l.next
		l.next = nil
		if b == nil {
			l.writing = false
			r.mu.Unlock()
			place.Release()
			return
		}
		r.mu.Unlock()
		var sight layout.Sight
		if b.err = busy; b.err == nil {
			sight, b.err = r.put(ctx, l, b.add)
		}
		place.Release()
		r.mu.Lock()
		r.written(l, b, sight)
		more := l.next != nil
		r.mu.Unlock()
		close(b.done)
		if more {
			place, busy = r.places.Take(ctx, 1)
		}
	}
}

// written notes that a batch was written, or failed.
func (r *Recorder) written(l *leg, b *batch, sight layout.Sight) {
	a := r.account(l.id.client)
	a.waits -= len(b.add)
	if b.err != nil {
		return
	}
	stale := sight != l.seen
	l.seen = sight
	if stale { // what was written before may have gone
		a.holds -= len(l.has)
		r.members -= len(l.has)
		clear(l.has)
	}
	for _, id := range b.add {
		r.remember(l, id)
	}
}

// remember notes that a path is listed.
func (r *Recorder) remember(l *leg, id refgraph.PathID) {
	if l.has[id] {
		return
	}
	l.has[id] = true
	a := r.account(l.id.client)
	a.members++
	if r.open[l.id] == l {
		a.holds++
		r.members++
	}
}

// put writes a list with what it had and more. Only the goroutine that writes the
// leg calls it.
func (r *Recorder) put(ctx context.Context, l *leg, add []refgraph.PathID) (layout.Sight, error) {
	keys := []layout.Key{listKey(l.id.RunID, fmt.Sprintf("%s-%04d", l.name, l.part))}
	for _, id := range add {
		keys = append(keys, id.NarInfoKey())
	}
	for {
		seen, err := r.putOnce(ctx, l, add, keys)
		if !errors.Is(err, layout.ErrLate) {
			return seen, err
		}
	}
}

// putOnce is put, unless it takes too long: then what was written is written again.
func (r *Recorder) putOnce(ctx context.Context, l *leg, add []refgraph.PathID, keys []layout.Key) (layout.Sight, error) {
	rely, err := layout.Rely(ctx, r.tree, l.seen, keys...)
	if err != nil {
		return layout.Sight{}, err
	}
	defer rely.Release()
	if rely.Stale { // a list that was removed is not brought back under its name
		l.turn()
	}
	for len(add) > 0 {
		if len(l.list) >= listMembers {
			l.turn()
		}
		n := min(len(add), listMembers-len(l.list))
		list := append(l.list, add[:n]...)
		h := head{Version: listVersion, Root: l.id.Root, Run: l.id.Run, Begun: l.begun, Renewed: r.now().UTC()}
		text, err := encode(h, list)
		if err != nil {
			return layout.Sight{}, err
		}
		key := listKey(l.id.RunID, fmt.Sprintf("%s-%04d", l.name, l.part))
		if err := r.tree.Put(rely.Context(ctx), key, layout.Bytes(text), layout.PutOptions{}); err != nil {
			return layout.Sight{}, fmt.Errorf("write down what %s relies on: %w", l.id.RunID, err)
		}
		l.list, add = list, add[n:]
	}
	return rely.Sight(), nil
}

// turn begins another list.
func (l *leg) turn() {
	if len(l.list) > 0 {
		l.list = nil
		l.part++
	}
}

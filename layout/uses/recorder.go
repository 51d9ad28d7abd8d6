package uses

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Recorder remembers what a server sends to readers, and writes it down now and
// then. It is safe for concurrent use.
type Recorder struct {
	tree layout.Tree
	by   string
	now  func() time.Time

	writing sync.Mutex // one Write after the other

	mu    sync.RWMutex
	day   time.Time
	seen  map[string]bool
	dirty bool
	name  string
}

// maxSeen bounds what a server remembers: reads beyond it are lost until the next time
// that it is written down.
const maxSeen = 5 * maxEntries

// NewRecorder returns the recorder of a tree, for a server that is called by.
func NewRecorder(t layout.Tree, by string) *Recorder {
	return &Recorder{tree: t, by: by, now: time.Now}
}

// Read notes that an object was sent to a reader.
func (r *Recorder) Read(key layout.Key) {
	entry := entryOf(key)
	if entry == "" {
		return
	}
	if r.known(entry) {
		return
	}
	day := r.today()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.begin(day)
	}
	if !r.day.Equal(day) || len(r.seen) >= maxSeen {
		return
	}
	r.seen[entry] = true
	r.dirty = true
}

// Known reports whether an object needs no more to be noted today.
func (r *Recorder) Known(key layout.Key) bool {
	entry := entryOf(key)
	return entry == "" || r.known(entry)
}

func (r *Recorder) known(entry string) bool {
	day := r.today()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.day.Equal(day) && r.seen[entry]
}

func (r *Recorder) today() time.Time { return r.now().UTC().Truncate(24 * time.Hour) }

func (r *Recorder) begin(day time.Time) {
	r.day, r.seen, r.dirty = day, map[string]bool{}, false
	r.name = strings.ToLower(rand.Text()[:16])
}

// Write writes down what was read since. Reads are noted meanwhile: the store may take
// its time.
func (r *Recorder) Write(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	due, day, name := r.dirty, r.day, r.name
	var seen map[string]bool
	if due {
		seen = maps.Clone(r.seen)
	}
	r.dirty = false
	r.mu.Unlock()
	var err error
	if due {
		err = put(ctx, r.tree, day, r.by, name, sorted(seen))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.dirty = true
		return err
	}
	if r.dirty { // more came meanwhile, and is written the next time
		return nil
	}
	if day := r.today(); r.seen != nil && (!r.day.Equal(day) || len(r.seen) >= maxSeen) {
		r.begin(day)
	}
	return nil
}

// Keep writes every so often until ctx ends, and once more. An error is told to
// failed, and what it was about is written the next time.
func (r *Recorder) Keep(ctx context.Context, every time.Duration, failed func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := r.Write(context.WithoutCancel(ctx)); err != nil {
				failed(err)
			}
			return
		case <-tick.C:
			if err := r.Write(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	}
}

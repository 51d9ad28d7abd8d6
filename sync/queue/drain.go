package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

// ErrBusy says that another process drains the queue.
var ErrBusy = errors.New("another process drains this queue")

// ErrRefused is wrapped by the error of a Drainer's Send that trying again does not
// help, unless something is changed by hand.
var ErrRefused = errors.New("refused")

// Pauses after failures: the first, and the longest of a server and of a path. Each is
// twice as long as the one before it, and some of it is chance, so that many machines
// do not come back at once.
const (
	firstPause = time.Second
	longPause  = 5 * time.Minute
	pathPause  = time.Hour
)

// A Drainer sends what waits in a queue. A queue is drained by one process at a time.
type Drainer struct {
	Queue *Queue
	// Send sends paths and says which of them are done with: sent, or gone from the
	// store for good. An error is about all the others.
	Send func(ctx context.Context, paths []string) (Sent, error)
	// Keep is told of entries that wait for longer than a moment, so that the store
	// keeps their paths; nil: nothing is to be done. Once is enough for each.
	Keep func(ctx context.Context, entries []Entry)
	// Idle is called when nothing waits any more; nil: nothing is to be done.
	Idle func()
	// Search looks into the store for what was built since a moment, and adds it; nil:
	// the queue is all there is. It is called where the queue missed something, at the
	// beginning and now and then: a Nix that is killed tells its hook nothing.
	Search func(ctx context.Context, since time.Time) error
	// Looked returns until when all that was built has been added, by one who looks all
	// the time; nil: Search is the one who looks.
	Looked func() time.Time
	Batch  int // paths of a Send at most; 0 for 100
	To     string
	Log    func(format string, args ...any) // nil: nothing is told

	lock   *os.File
	status Status
	shelf  shelf
	paths  map[string]*attempts // of those that failed by themselves
	kept   map[string]bool      // by path
	first  int                  // entry of the next batch, after a round that failed as a whole
	wake   time.Time            // of the file
	saved  time.Time

	searchNext, searchMissed time.Time // not before

	mu      sync.Mutex // of what follows
	shown   Status     // as it was written last
	trouble string     // of the attempt under way
}

// Lock makes this process the one that drains, until Close. Its error is ErrBusy if
// another one does.
func (d *Drainer) Lock() error {
	f, err := os.OpenFile(d.Queue.in("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := intake.Flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return ErrBusy
		}
		return fmt.Errorf("lock the queue: %w", err)
	}
	d.lock, d.paths, d.kept, d.shelf = f, map[string]*attempts{}, map[string]bool{}, shelf{}
	d.status = d.Queue.readStatus()
	d.status.To, d.status.Trying = d.To, time.Time{}
	// A machine that crashed may have lost the latest entries, and its store has what
	// they were for.
	boot := bootID()
	if d.status.Boot != "" && boot != "" && d.status.Boot != boot {
		if err := intake.MissedSince(d.Queue.dir, d.status.Saved.Add(-intake.Before)); err != nil {
			return err
		}
	}
	d.status.Boot = boot
	d.save() // so that others know where the queue goes now
	return nil
}

// Close writes down how things are, and lets other processes drain the queue.
func (d *Drainer) Close() error {
	d.status.Trying = time.Time{}
	d.save()
	return d.lock.Close()
}

// looking is how often a Drainer looks for new entries.
const looking = 300 * time.Millisecond

// saving is how often the status is written where nothing happens.
const saving = time.Minute

// Run drains until ctx ends, which is not an error.
func (d *Drainer) Run(ctx context.Context) error {
	err := d.run(ctx, func(int) bool { return false })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Empty drains until nothing waits that is worth another attempt, but not before the
// channel is closed, and until ctx ends at the latest. It returns how many paths still
// wait, and why.
func (d *Drainer) Empty(ctx context.Context, after <-chan struct{}) (left int, err error) {
	woken := false
	enough := func(waiting int) bool {
		select {
		case <-after:
		default:
			return false
		}
		if waiting > 0 && !woken {
			woken = true
			return d.Queue.Wake() != nil
		}
		return waiting == 0 || d.hopeless(waiting)
	}
	if err := d.run(ctx, enough); err != nil && ctx.Err() == nil {
		return 0, err
	}
	waiting, err := d.Queue.Waiting()
	if err != nil || len(waiting) == 0 {
		return 0, err
	}
	return len(waiting), d.why()
}

// why returns why something waits.
func (d *Drainer) why() error {
	if d.status.LastError != "" {
		return errors.New(d.status.LastError)
	}
	for _, a := range d.paths {
		return a.err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.trouble != "":
		return errors.New(d.trouble)
	case !d.status.Trying.IsZero():
		return fmt.Errorf("it takes longer: the attempt of %s had not ended", d.status.Trying.Format(time.TimeOnly))
	}
	return errors.New("it takes longer")
}

// Trouble notes why an attempt that is under way takes longer. It may be called by any
// goroutine that Send uses.
func (d *Drainer) Trouble(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if why = clip(why); why == d.trouble {
		return
	}
	d.trouble = why
	s := d.shown
	s.LastError, s.Saved = why, time.Now()
	if err := d.Queue.writeStatus(s); err != nil {
		d.log("the status of the queue cannot be written: %v", err)
	}
}

// Await waits while another process drains the queue, until nothing waits that is worth
// another attempt, until ctx ends, or until that process is gone, which is free.
func (q *Queue) Await(ctx context.Context) (left int, free bool, err error) {
	asked := time.Now()
	if err := q.Wake(); err != nil {
		return 0, false, err
	}
	for {
		s, err := q.Status()
		switch {
		case err != nil:
			return 0, false, err
		case s.Waiting == 0 && s.Missed.IsZero():
			return 0, false, nil
		case !s.Draining:
			return s.Waiting, true, nil
		case s.Tried.After(asked) && (s.Refused || len(s.Failing) >= s.Waiting), ctx.Err() != nil:
			if s.LastError == "" && len(s.Failing) > 0 {
				s.LastError = s.Failing[0].Error
			}
			return s.Waiting, false, errors.New(cmp.Or(s.LastError, "it takes longer"))
		}
		sleep(ctx, looking)
	}
}

// hopeless reports whether all that waits was refused.
func (d *Drainer) hopeless(waiting int) bool {
	if d.status.Refused {
		return true
	}
	refused := 0
	for _, a := range d.paths {
		if errors.Is(a.err, ErrRefused) {
			refused++
		}
	}
	return refused >= waiting
}

// Wake has the process that drains the queue try at once what waits for another
// attempt.
func (q *Queue) Wake() error {
	now := time.Now()
	return os.Chtimes(q.in("wake"), now, now)
}

func (d *Drainer) run(ctx context.Context, enough func(waiting int) bool) error {
	idle := true
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.search(ctx)
		d.woken()
		listed, err := d.shelf.look(d.Queue)
		if err != nil {
			return err
		}
		waiting := d.shelf.entries
		if listed {
			d.forget(waiting)
		}
		d.status.Waiting = len(waiting)
		ready := d.ready(waiting)
		d.keep(ctx, waiting, ready)
		if len(ready) > 0 {
			idle = false
			d.round(ctx, ready)
			d.save()
			continue
		}
		if len(waiting) == 0 && !idle {
			idle = true
			d.status.LastError, d.status.Refused = "", false
			d.save()
			if d.Idle != nil {
				d.Idle()
			}
		}
		if time.Since(d.saved) > saving {
			d.save()
		}
		if enough(len(waiting)) {
			return nil
		}
		sleep(ctx, looking)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// woken forgets the pauses if another process asks for that.
func (d *Drainer) woken() {
	st, err := os.Stat(d.Queue.in("wake"))
	if err != nil || st.ModTime().Equal(d.wake) {
		return
	}
	d.wake = st.ModTime()
	d.status.NextTry = time.Time{}
	for _, a := range d.paths {
		a.next = time.Time{}
	}
}

// forget drops what is known of paths that do not wait any more.
func (d *Drainer) forget(waiting []Entry) {
	here := map[string]bool{}
	for _, e := range waiting {
		here[e.Path] = true
	}
	maps.DeleteFunc(d.paths, func(path string, _ *attempts) bool { return !here[path] })
	maps.DeleteFunc(d.kept, func(path string, _ bool) bool { return !here[path] })
}

// ready returns the entries that may be tried now.
func (d *Drainer) ready(waiting []Entry) []Entry {
	now := time.Now()
	if now.Before(d.status.NextTry) {
		return nil
	}
	var ready []Entry
	for i := range waiting {
		e := waiting[(d.first+i)%len(waiting)]
		if a := d.paths[e.Path]; a == nil || !now.Before(a.next) {
			if ready = append(ready, e); len(ready) == d.batch() {
				break
			}
		}
	}
	return ready
}

func (d *Drainer) batch() int {
	if d.Batch > 0 {
		return d.Batch
	}
	return 100
}

// keepAfter is how long an entry waits before the store is asked to keep its path, and
// keepMost is for how many it is asked at once: others are to be sent meanwhile.
const (
	keepAfter = 5 * time.Second
	keepMost  = 200
)

// keep has the store keep what waits, but for what is sent now.
func (d *Drainer) keep(ctx context.Context, waiting, now []Entry) {
	if d.Keep == nil || len(d.kept) >= len(waiting) {
		return
	}
	sending := map[string]bool{}
	for _, e := range now {
		sending[e.Path] = true
	}
	var fresh []Entry
	for _, e := range waiting {
		age := time.Since(e.Since) // less than nothing where the clock was set back
		if !d.kept[e.Path] && !sending[e.Path] && (age > keepAfter || age < 0) {
			d.kept[e.Path] = true
			if fresh = append(fresh, e); len(fresh) == keepMost {
				break
			}
		}
	}
	if len(fresh) > 0 {
		d.Keep(ctx, fresh)
	}
}

func (d *Drainer) log(format string, args ...any) {
	if d.Log != nil {
		d.Log(format, args...)
	}
}

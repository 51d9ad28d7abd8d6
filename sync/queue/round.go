package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Sent says what became of paths.
type Sent struct {
	Sent    []string
	Gone    []string            // not in the store any more
	Failed  map[string]error    // by themselves: what is wrong is the path, and not the server
	Outputs map[string][]string // of derivations: they are to be sent in their place
}

type attempts struct {
	tries int
	next  time.Time
	err   error
}

// round tries a batch. If it fails as a whole, one path of it tells whether the reason
// is the server or a path among them.
func (d *Drainer) round(ctx context.Context, batch []Entry) {
	d.status.Trying = time.Now()
	d.save()
	err := d.send(ctx, batch)
	d.status.Tried = time.Now()
	if ctx.Err() != nil {
		return // and status says since when it was tried
	}
	d.status.Trying = time.Time{}
	if err == nil {
		d.first = 0
		return
	}
	if rest := d.still(batch); len(rest) > 1 {
		probes := []Entry{rest[rand.IntN(len(rest))], rest[rand.IntN(len(rest))]}
		for _, probe := range probes {
			if ctx.Err() != nil {
				return
			}
			if err = d.send(ctx, []Entry{probe}); err == nil {
				d.first = 0
				d.halves(ctx, d.still(rest))
				return
			}
		}
	}
	if ctx.Err() != nil {
		return
	}
	// A path that was tried alone may be the reason, and so may the server: the next
	// round is for other paths.
	if len(batch) == 1 && d.status.Waiting > 1 {
		d.failed(batch[0], err)
	}
	d.first += len(batch)
	d.status.tries++
	d.status.LastError, d.status.Refused = err.Error(), errors.Is(err, ErrRefused)
	d.status.NextTry = time.Now().Add(pause(d.status.tries, longPause))
	d.log("waiting paths: %d: %v; the next attempt is at %s", d.status.Waiting, err, d.status.NextTry.Format(time.TimeOnly))
}

// halves finds the paths that fail by themselves, and sends all others.
func (d *Drainer) halves(ctx context.Context, entries []Entry) {
	if len(entries) == 0 || ctx.Err() != nil {
		return
	}
	err := d.send(ctx, entries)
	if err == nil || ctx.Err() != nil {
		return
	}
	if len(entries) == 1 {
		d.failed(entries[0], err)
		return
	}
	d.halves(ctx, d.still(entries[:len(entries)/2]))
	d.halves(ctx, d.still(entries[len(entries)/2:]))
}

// still returns the entries that wait still, and may be tried.
func (d *Drainer) still(entries []Entry) []Entry {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		if a := d.paths[e.Path]; a != nil && now.Before(a.next) {
			return true
		}
		_, err := os.Lstat(d.Queue.in(e.file))
		return err != nil
	})
}

func (d *Drainer) failed(e Entry, err error) {
	a := d.paths[e.Path]
	if a == nil {
		a = &attempts{}
		d.paths[e.Path] = a
	}
	a.tries++
	a.err, a.next = err, time.Now().Add(pause(a.tries, pathPause))
	d.log("%s was not sent: %v; the next attempt is at %s", e.Path, err, a.next.Format(time.TimeOnly))
}

// send tries to send entries, and removes those that are done with.
func (d *Drainer) send(ctx context.Context, entries []Entry) error {
	paths := make([]string, len(entries))
	byPath := map[string]Entry{}
	for i, e := range entries {
		paths[i], byPath[e.Path] = e.Path, e
	}
	d.mu.Lock()
	d.trouble = ""
	d.mu.Unlock()
	sent, err := d.Send(ctx, paths)
	for path, why := range sent.Failed {
		d.failed(byPath[path], why)
	}
	finished := map[string]bool{}
	done := func(path string) error {
		finished[path] = true
		delete(d.paths, path)
		delete(d.kept, path)
		return d.Queue.done(byPath[path])
	}
	defer func() { d.shelf.drop(finished) }()
	for drv, outputs := range sent.Outputs {
		// The outputs wait before the derivation does not. Those that wait already, or are
		// sent with it, are not sent again.
		outputs = slices.DeleteFunc(outputs, func(p string) bool {
			_, err := os.Lstat(d.Queue.in("work/" + filepath.Base(p)))
			return err == nil
		})
		if added := d.Queue.Add(outputs...); added != nil {
			err = errors.Join(err, added)
			continue
		}
		err = errors.Join(err, done(drv))
	}
	for _, path := range sent.Sent {
		err = errors.Join(err, done(path))
	}
	for _, path := range sent.Gone {
		d.log("%s is not in the store any more: it was removed before it could be sent", path)
		err = errors.Join(err, done(path))
	}
	d.status.Sent += int64(len(sent.Sent))
	d.status.Gone += int64(len(sent.Gone))
	if err == nil {
		d.status.tries, d.status.NextTry = 0, time.Time{}
		d.status.LastError, d.status.Refused = "", false
		d.status.LastSent = time.Now()
	}
	return err
}

// pause returns how long to wait after so many failures in a row.
func pause(tries int, longest time.Duration) time.Duration {
	d := firstPause << min(tries-1, 20)
	d = min(d, longest)
	return d*3/4 + rand.N(d/2+1)
}

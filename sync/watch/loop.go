package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// A watching is a Run of a Watch. Its fields belong to the loop; passes run
// beside it.
type watching struct {
	*Watch
	mirror                       mirror.Mirror
	settle, delay, rescan, drain time.Duration

	events // of the directory

	all     bool                     // compare all
	dirty   map[layout.Key]time.Time // what changed, and when last
	first   time.Time                // of the changes that wait
	last    time.Time
	scanned time.Time // when all was compared last
	retry   time.Duration
	pause   time.Time // no attempt before
}

// A passed is the end of an attempt.
type passed struct {
	keys []layout.Key // nil for all
	took time.Duration
	err  error
}

func (s *watching) loop(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running chan passed
	for {
		var timer <-chan time.Time
		if running == nil {
			timer = time.After(time.Until(s.due()))
		}
		select {
		case e, ok := <-s.changes():
			if ok {
				s.note(e)
			}
		case err, ok := <-s.failures():
			if ok {
				s.missed(err)
			}
		case end := <-running:
			running = nil
			s.finish(end)
		case <-timer:
			if time.Since(s.scanned) >= s.rescan {
				s.all = true
			}
			if s.all || len(s.dirty) > 0 {
				running = s.start(work)
			}
		case <-ctx.Done():
			return s.finally(stop, work, running)
		}
	}
}

// due is when the next attempt is to be made.
func (s *watching) due() time.Time {
	at := s.scanned.Add(s.rescan)
	if len(s.dirty) > 0 || s.all {
		soon := s.last.Add(s.settle)
		if latest := s.first.Add(s.delay); latest.Before(soon) {
			soon = latest
		}
		if soon.Before(at) {
			at = soon
		}
	}
	if at.Before(s.pause) {
		at = s.pause
	}
	return at
}

// start makes an attempt, beside the loop.
func (s *watching) start(ctx context.Context) chan passed {
	done := make(chan passed, 1)
	keys := s.settled()
	switch {
	case s.all:
		s.again() // a directory may have come, or come back
		keys = nil
	case len(keys) == 0:
		return nil
	}
	s.all = false
	go func() {
		begun := time.Now()
		var err error
		if keys == nil {
			err = s.mirror.Run(ctx)
		} else {
			err = s.mirror.RunKeys(ctx, keys)
		}
		done <- passed{keys, time.Since(begun), err}
	}()
	return done
}

// settled takes the keys that were left alone for long enough.
func (s *watching) settled() []layout.Key {
	keys := []layout.Key{}
	for key, at := range s.dirty {
		if time.Since(at) >= s.settle {
			keys = append(keys, key)
			delete(s.dirty, key)
		}
	}
	s.first = time.Time{}
	if len(s.dirty) > 0 {
		s.first = time.Now()
	}
	return keys
}

// finish takes the end of an attempt.
func (s *watching) finish(end passed) {
	out := Outcome{Keys: len(end.keys), Took: end.took, Err: end.err}
	if end.keys == nil {
		out.Keys = -1
	}
	var incomplete *mirror.IncompleteError
	switch {
	case end.err == nil || errors.As(end.err, &incomplete):
		s.retry = firstRetry
		if end.keys == nil {
			s.scanned = time.Now()
		} else if incomplete != nil && incomplete.Moving {
			s.mark() // something is missing that no change told of
		}
	default:
		out.Retry, s.pause = s.retry, time.Now().Add(s.retry)
		s.retry = min(2*s.retry, lastRetry)
		if end.keys == nil {
			s.mark()
		}
		for _, key := range end.keys {
			s.add(key, time.Now().Add(-s.settle))
		}
	}
	s.tell(out)
}

// mark asks for all to be compared.
func (s *watching) mark() {
	s.all = true
	s.touch(time.Now())
}

// add notes that a key changed.
func (s *watching) add(key layout.Key, at time.Time) {
	s.touch(at)
	if s.all && len(s.dirty) >= maxDirty {
		return
	}
	if s.dirty[key] = at; len(s.dirty) > maxDirty {
		s.all = true
	}
}

func (s *watching) touch(at time.Time) {
	if s.first.IsZero() {
		s.first = at
	}
	s.last = at
}

func (s *watching) tell(o Outcome) {
	if s.Report != nil {
		s.Report(o)
	}
}

// finally lets the attempt under way end, and mirrors what has changed since.
func (s *watching) finally(stop func(), work context.Context, running chan passed) error {
	deadline := time.AfterFunc(s.drain, stop)
	defer deadline.Stop()
	if running != nil {
		s.finish(<-running)
	}
	s.takeRest()
	if !s.all && len(s.dirty) == 0 {
		return nil
	}
	select {
	case <-time.After(time.Until(s.last.Add(s.settle))):
	case <-work.Done():
	}
	s.takeRest()
	keys := slices.Collect(maps.Keys(s.dirty))
	clear(s.dirty)
	var err error
	begun := time.Now()
	if s.all {
		keys = nil
		err = s.mirror.Run(work)
	} else {
		err = s.mirror.RunKeys(work, keys)
	}
	s.finish(passed{keys, time.Since(begun), err})
	if err != nil {
		return fmt.Errorf("not all that had changed was mirrored before the end: %w", err)
	}
	return nil
}

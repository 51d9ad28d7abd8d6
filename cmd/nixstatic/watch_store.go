package main

import (
	"context"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// A feeder adds what is built in a store to a queue.
type feeder struct {
	*sender
	store *nixstore.Store
	news  *nixstore.Newcomers
}

// newFeeder begins to look at the store. All that was built since
// another process looked last is added.
func (s *sender) newFeeder(ctx context.Context) (*feeder, error) {
	store, err := nixstore.Open(ctx, nixstore.Options{Store: s.c.String("nix-store")})
	if err != nil {
		return nil, err
	}
	f := &feeder{sender: s, store: store}
	begun := time.Now()
	if f.news, err = store.Watch(ctx); err == nil {
		if st, e := s.queue.Status(); e == nil && st.Looked.Unix() > 0 {
			var built []layout.StorePath
			if built, err = store.BuiltSince(ctx, st.Looked); err == nil {
				err = s.add(store, built)
			}
		}
	}
	if err != nil {
		store.Close()
		return nil, err
	}
	s.looked.Store(begun.Unix())
	return f, nil
}

// look adds what was built since the last look.
func (f *feeder) look(ctx context.Context) error {
	begun := time.Now()
	built, err := f.news.Next(ctx)
	if err != nil {
		return err
	}
	if err := f.add(f.store, built); err != nil {
		return err // the queue knows that it missed something
	}
	f.looked.Store(begun.Unix())
	return nil
}

// feed looks at the store every second, until ctx ends or stop is called.
func (s *sender) feed(ctx context.Context) (stop func(), err error) {
	f, err := s.newFeeder(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer f.store.Close()
		told := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			err := f.look(ctx)
			if err != nil && !told && ctx.Err() == nil {
				say(s.c, "warning: the store cannot be looked at, and will be again: %s", printable(err.Error()))
			}
			told = err != nil
		}
	}()
	return func() { cancel(); <-done }, nil
}

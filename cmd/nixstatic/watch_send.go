package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/nixstore"
	"github.com/nixstatic/nixstatic/sync/queue"
	"github.com/nixstatic/nixstatic/sync/runner"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// A sender sends what waits in a queue as push does.
type sender struct {
	c     *cli.Context
	queue *queue.Queue
	to    string
	// store is opened for what waits and closed when nothing does: its roots keep what
	// was sent from the garbage collector of the machine.
	store  *nixstore.Store
	drain  *queue.Drainer
	looked atomic.Int64    // Unix time until when all that was built has been added; 0: no feeder looks
	sent   map[string]bool // since the store was searched last
}

func newSender(c *cli.Context, q *queue.Queue, to string) *sender {
	return &sender{c: c, queue: q, to: to, sent: map[string]bool{}}
}

func (s *sender) drainer() *queue.Drainer {
	d := &queue.Drainer{Queue: s.queue, To: withoutUser(s.to), Send: s.send, Keep: s.keep, Idle: s.close, Search: s.search,
		Log: func(format string, args ...any) {
			if s.c.Context.Err() == nil {
				say(s.c, "%s", printable(fmt.Sprintf(format, args...)))
			}
		}}
	if s.looked.Load() > 0 {
		d.Looked = func() time.Time { return time.Unix(s.looked.Load(), 0) }
	}
	s.drain = d
	return d
}

func (s *sender) close() {
	if s.store != nil {
		s.store.Close()
		s.store = nil
	}
}

func (s *sender) open(ctx context.Context) error {
	if s.store != nil {
		return nil
	}
	store, err := nixstore.Open(ctx, nixstore.Options{Store: s.c.String("nix-store"), Lazy: true})
	if err == nil {
		s.store = store
	}
	return err
}

// send sends paths with their closures, of which the cache gets what it lacks.
func (s *sender) send(ctx context.Context, texts []string) (queue.Sent, error) {
	sent, err := s.trySend(ctx, texts)
	if err != nil && isFinal(err) {
		err = fmt.Errorf("%w (%w)", err, queue.ErrRefused)
	}
	return sent, err
}

func (s *sender) trySend(ctx context.Context, texts []string) (sent queue.Sent, err error) {
	if err := s.open(ctx); err != nil {
		return sent, err
	}
	sent.Failed = map[string]error{}
	texts = slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
		_, err := layout.ParseAbsStorePath(s.store.StoreDir(), text)
		if err != nil {
			sent.Failed[text] = fmt.Errorf("%w (%w)", err, queue.ErrRefused)
		}
		return err != nil
	})
	if len(texts) == 0 {
		return sent, nil
	}
	paths := make([]layout.StorePath, len(texts))
	for i, text := range texts {
		if paths[i], err = layout.ParseAbsStorePath(s.store.StoreDir(), text); err != nil {
			return sent, err
		}
	}
	facts, err := s.store.Facts(ctx, paths)
	if err != nil {
		return sent, err
	}
	var here []layout.StorePath
	for i, f := range facts {
		switch {
		case !f.Valid:
			sent.Gone = append(sent.Gone, texts[i])
		case f.Path.IsDerivation():
			outputs, err := s.store.Outputs(ctx, f.Path)
			if err != nil {
				return sent, err
			}
			if sent.Outputs == nil {
				sent.Outputs = map[string][]string{}
			}
			list := []string{}
			for _, p := range outputs {
				list = append(list, p.Abs(s.store.StoreDir()))
			}
			sent.Outputs[texts[i]] = list
		default:
			here = append(here, f.Path)
		}
	}
	if len(here) == 0 {
		return sent, nil
	}
	if err := s.push(ctx, here); err != nil {
		return sent, err
	}
	for _, p := range here {
		sent.Sent = append(sent.Sent, p.Abs(s.store.StoreDir()))
		s.sent[p.Abs(s.store.StoreDir())] = true
	}
	return sent, nil
}

// push is one run of push.
func (s *sender) push(ctx context.Context, paths []layout.StorePath) error {
	within := *s.c
	within.Context = ctx
	c := &within
	exclude, err := excluded(c.StringSlice("exclude"))
	if err != nil {
		return err
	}
	id, err := runOfExport(c)
	if err != nil {
		return err
	}
	tree, err := openPush(c, s.to, id, slog.New(troubleLog{s.drain.Trouble}))
	if err != nil {
		return err
	}
	defer tree.Close()
	writer, err := newWriter(c, tree, s.store.StoreDir())
	if err != nil {
		return err
	}
	im := &export.Run{Source: s.store, Writer: writer, Trust: signer.Trust{All: true}, Exclude: exclude,
		Logs: c.Bool("logs"), Jobs: c.Int("jobs"), Progress: &export.Progress{}}
	if im.Provided, err = providedBy(c, writer); err != nil {
		return err
	}
	plan, err := im.Plan(ctx, paths)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := carryOut(c, im, plan); err != nil {
		return err
	}
	if !c.Bool("quiet") && len(plan.Missing) > 0 {
		say(c, "%s sent (%s, stored as %s, %v)", plural(int64(len(plan.Missing)), "path"), bytesize(plan.NarBytes()),
			bytesize(im.Progress.Stored.Load()), time.Since(start).Round(10*time.Millisecond))
	}
	return nil
}

// isFinal reports whether to try again does not help, unless something is changed.
func isFinal(err error) bool {
	for _, final := range []error{httpcache.ErrRefused, fs.ErrPermission, s3.ErrDenied, s3.ErrCredentials, s3.ErrUnsigned, s3.ErrNoBucket, layout.ErrClosed} {
		if errors.Is(err, final) {
			return true
		}
	}
	if errors.As(err, new(*runner.RefusedError)) {
		return true // the identity of a job stays what it is
	}
	return httpcache.Refuses(err) || errors.As(err, new(*usageError)) || errors.As(err, new(*export.MissingReferenceError))
}

// keep has the store keep the paths of entries while their links are there.
func (s *sender) keep(ctx context.Context, entries []queue.Entry) {
	err := s.open(ctx)
	if err == nil {
		links := make([]string, len(entries))
		for i, e := range entries {
			links[i] = s.queue.File(e)
		}
		err = s.store.Keep(ctx, links)
	}
	if err != nil && ctx.Err() == nil {
		say(s.c, "warning: a garbage collection may remove paths that wait: %s", printable(err.Error()))
	}
}

// search adds what was built since a moment.
func (s *sender) search(ctx context.Context, since time.Time) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	built, err := s.store.BuiltSince(ctx, since)
	if err != nil {
		return err
	}
	built = slices.DeleteFunc(built, func(p layout.StorePath) bool { return s.sent[p.Abs(s.store.StoreDir())] })
	if err := s.add(s.store, built); err != nil {
		return err
	}
	clear(s.sent)
	return nil
}

func (s *sender) add(store *nixstore.Store, paths []layout.StorePath) error {
	texts := make([]string, len(paths))
	for i, p := range paths {
		texts[i] = p.Abs(store.StoreDir())
	}
	return s.queue.Add(texts...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/sync/queue"
)

func runWatchDrain(c *cli.Context) error {
	dir, err := queueDir(c)
	if err != nil {
		return err
	}
	q, err := queue.Open(dir)
	if err != nil {
		return noQueue(err)
	}
	to, err := recall(c, q)
	if err != nil {
		return err
	}
	if err := checkSending(c, to); err != nil {
		return err
	}
	// A person may have removed folders and files of the queue, which are made again.
	if q, err = makeQueue(dir); err != nil {
		return err
	}
	left, err := drainFor(c, q, to)
	return tellLeft(c, q, left, err)
}

func noQueue(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "nixstatic watch TO makes one; --queue names another place")
	}
	return err
}

// drainFor sends what waits, or waits while another process does.
func drainFor(c *cli.Context, q *queue.Queue, to string) (left int, why error) {
	timeout, err := durationFlag(c, "timeout")
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(c.Context, timeout)
	defer stop()
	for looked := false; ; {
		s := newSender(c, q, to)
		d := s.drainer()
		err := d.Lock()
		if err == nil {
			now := make(chan struct{})
			close(now)
			left, why = d.Empty(ctx, now)
			s.close()
			return left, errors.Join(why, d.Close())
		}
		if !errors.Is(err, queue.ErrBusy) {
			return 0, err
		}
		if err := s.astray(); err != nil {
			return 0, err
		}
		if !looked {
			looked = true
			lookAgain(ctx, s, q)
		}
		left, free, why := q.Await(ctx)
		if !free {
			return left, why
		}
	}
}

// lookAgain adds what was built since the process that sends looked into the store, which it does
// now and then: there may be no hook, and this may be the end of a job.
func lookAgain(ctx context.Context, s *sender, q *queue.Queue) {
	defer s.close()
	st, err := q.Status()
	if err == nil && !st.Looked.IsZero() {
		err = s.search(ctx, st.Looked)
	}
	if err != nil && ctx.Err() == nil {
		say(s.c, "warning: builds that are not in the queue cannot be looked for: %s", printable(err.Error()))
	}
}

// tellLeft ends a drain: what is left fails nothing unless that was asked for.
func tellLeft(c *cli.Context, q *queue.Queue, left int, why error) error {
	if left == 0 && why == nil {
		return nil
	}
	err := fmt.Errorf("%s could not be sent, and %s in the queue %s", plural(int64(left), "path"), waits(left), q.Dir())
	switch {
	case left == 0:
		err = why
	case why != nil:
		err = fmt.Errorf("%w: %w", err, why)
	}
	if c.Bool("strict") {
		if errors.As(err, new(*hinted)) {
			return err
		}
		return withHint(err, "nixstatic watch status --queue %s tells more; nixstatic watch drain tries again", q.Dir())
	}
	say(c, "warning: %s", printable(err.Error()))
	return nil
}

func waits(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}

func runWatchStatus(c *cli.Context) error {
	dir, err := queueDir(c)
	if err != nil {
		return err
	}
	q, err := queue.Open(dir)
	if err != nil {
		return noQueue(err)
	}
	s, err := q.Status()
	if err != nil {
		return err
	}
	if settings, err := q.ReadSettings(); err == nil && s.To == "" {
		s.To = settings.To
	}
	s.To = withoutUser(s.To)
	if c.Bool("json") {
		return printJSON(c.App.Writer, s)
	}
	w := c.App.Writer
	fmt.Fprintf(w, "queue:    %s\n", s.Queue)
	if s.To != "" {
		fmt.Fprintf(w, "to:       %s\n", s.To)
	}
	sending := "no process sends: nixstatic watch drain does"
	if s.Draining {
		sending = "a process sends"
		if !s.Trying.IsZero() && s.Waiting > 0 {
			sending += ", and the attempt under way began at " + s.Trying.Format(time.DateTime)
		}
	}
	fmt.Fprintf(w, "state:    %s\n", sending)
	waiting := plural(int64(s.Waiting), "path")
	if s.Waiting > 0 {
		waiting += ", the oldest since " + s.Oldest.Format(time.DateTime)
	}
	fmt.Fprintf(w, "waiting:  %s\n", waiting)
	if !s.Missed.IsZero() {
		fmt.Fprintf(w, "missed:   builds since %s could not be added, as on a full disk; they are looked for in the store\n", s.Missed.Format(time.DateTime))
	}
	fmt.Fprintf(w, "sent:     %s\n", plural(s.Sent, "path"))
	if s.Gone > 0 {
		fmt.Fprintf(w, "gone:     %s that left the store before they could be sent\n", plural(s.Gone, "path"))
	}
	if s.LastError != "" && s.Waiting > 0 {
		fmt.Fprintf(w, "why:      %s\n", printable(s.LastError))
		if s.Draining && !s.NextTry.IsZero() {
			fmt.Fprintf(w, "next try: %s\n", s.NextTry.Format(time.DateTime))
		}
	}
	for _, f := range s.Failing {
		fmt.Fprintf(w, "failing:  %s: %s\n", f.Path, printable(f.Error))
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/sync/queue"
)

// runWatchExec runs a command, and sends what was built meanwhile. Nothing about the
// cache fails the command.
func runWatchExec(c *cli.Context, q *queue.Queue, to string) error {
	// The terminal of a job may be closed. A job that is to outlive it ignores that.
	if !signal.Ignored(syscall.SIGHUP) {
		ctx, stop := signal.NotifyContext(c.Context, syscall.SIGHUP)
		defer stop()
		c.Context = ctx
	}
	warn := func(err error) {
		if err != nil {
			say(c, "warning: %s", printable(err.Error()))
		}
	}
	timeout, err := durationFlag(c, "timeout")
	if err != nil {
		return err
	}
	s := newSender(c, q, to)
	feeder, unseen := s.newFeeder(c.Context)
	if unseen != nil {
		unseen = fmt.Errorf("what is built cannot be seen: %w", unseen)
		warn(unseen)
	}

	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	ended := make(chan struct{}) // when the command has, and all that it built waits
	type result struct {
		left int
		err  error
	}
	drained := make(chan result, 1)
	d := s.drainer()
	var astray error
	busy := d.Lock()
	switch {
	case busy == nil:
		warn(s.remember())
		defer d.Close()
		defer s.close()
		go func() {
			left, err := d.Empty(ctx, ended)
			drained <- result{left, err}
		}()
	case errors.Is(busy, queue.ErrBusy):
		astray = s.astray()
		warn(astray)
		go func() {
			<-ended
			left, err := drainFor(c, q, to)
			drained <- result{left, err}
		}()
	default:
		warn(busy)
		drained <- result{0, busy}
	}

	failed := runBuild(c, feeder, warn)
	time.AfterFunc(timeout, stop)
	if c.Context.Err() != nil {
		stop()
	}
	close(ended)
	r := <-drained
	left := astray
	if left == nil {
		left = tellLeft(c, q, r.left, r.err)
	}
	switch {
	case failed != nil:
		if left != nil {
			warn(left)
		}
		return failed
	case c.Bool("strict"):
		return errors.Join(left, unseen)
	}
	return nil
}

// runBuild runs the command with what this process has, and looks at the store meanwhile and
// when it has ended.
func runBuild(c *cli.Context, f *feeder, warn func(error)) error {
	args := c.Args().Tail()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.App.Reader, c.App.Writer, c.App.ErrWriter
	if err := cmd.Start(); err != nil {
		return notStarted(withHint(err, "the command stands after --: nixstatic watch TO --exec -- nix build"))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	look := func() {
		if f != nil {
			// The command may be ended by a signal, and what it built is to be sent.
			warn(f.look(context.WithoutCancel(c.Context)))
		}
	}
	ending := c.Context.Done()
	for {
		select {
		case err := <-done:
			look()
			if f != nil {
				f.store.Close()
			}
			return exitOf(err)
		case <-ending:
			cmd.Process.Signal(syscall.SIGTERM)
			ending = nil
		case <-time.After(time.Second):
			look()
		}
	}
}

// notStarted returns the exit code for a command that cannot be started, as a shell tells it.
func notStarted(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &commandFailed{127, err}
	}
	return &commandFailed{126, err}
}

// exitOf returns the exit code of a command, as a shell tells it.
func exitOf(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return &commandFailed{code: code}
}

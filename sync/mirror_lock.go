package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

// Two runs to one destination would trust each other's leftovers: one would
// publish a narinfo whose NAR the other is about to remove. So whoever has
// something to do holds a lock from before its listings to its end. It is among
// the private keys; other commands do not care for it.

const (
	lockFile  = "sync.lock"
	leaseKey  = layout.Key(layout.PrivatePrefix + "sync-lease")
	leaseText = 400 // bytes at most
	// A lease that nobody renews for leaseTime is free. Everyone measures it by
	// their own clock, from when they saw the lease change: no clocks are
	// compared.
	leaseTime  = 60 * time.Second
	leaseRenew = 10 * time.Second
	// The lease of a holder that is known to be dead is free after deadTime: the
	// last requests of the dead may still be on their way.
	deadTime = 5 * time.Second
	lockPoll = 200 * time.Millisecond
)

// errLeaseLost ends a run whose lease someone else took: it was cut off from
// the destination for so long that it counted as dead.
var errLeaseLost = errors.New("cut off from the destination for too long: another run has taken over; run the command again")

// locked does work under the lock of the destination, if it is one that can be
// locked.
func (r *run) locked(ctx context.Context, work func(context.Context) error) error {
	if r.blind {
		return work(ctx)
	}
	if path := layout.TraitsOf(r.Dest).Path; path != "" {
		unlock, err := r.lockDir(ctx, path)
		if err != nil {
			return err
		}
		defer unlock()
		return work(ctx)
	}
	l := &lease{run: r, holder: rand.Text(), boot: bootID()}
	pulse := beat(l.pulses(), l.holder)
	left := false
	defer func() { pulse.end(left) }()
	if err := l.take(ctx); err != nil {
		return err
	}
	if l.version == "" {
		return work(ctx) // the store cannot do it, and we have said so
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.renew(ctx, cancel)
	}()
	err := work(ctx)
	cancel(nil)
	<-done
	if !errors.Is(err, errLeaseLost) {
		left = !l.giveBack(context.WithoutCancel(ctx))
	}
	return err
}

// lockDir takes a lock that ends with the process.
func (r *run) lockDir(ctx context.Context, path string) (unlock func(), err error) {
	fail := func(err error) (func(), error) { return nil, fmt.Errorf("lock the destination: %w", err) }
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	if err := root.Mkdir(filepath.Clean(layout.PrivatePrefix), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err)
	}
	f, err := root.OpenFile(layout.PrivatePrefix+lockFile, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o666)
	if err != nil {
		return fail(err)
	}
	defer r.progress.Waiting.Store(nil)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			if f.Truncate(0) == nil { // for people, and for who waits
				f.WriteAt([]byte(ourselves()+"\n"), 0)
			}
			return func() { f.Close() }, nil
		case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
			text, _ := io.ReadAll(io.NewSectionReader(f, 0, leaseText))
			r.wait(&MirrorWait{For: whose(string(text))})
			if err := sleepContext(ctx, lockPoll); err != nil {
				f.Close()
				return nil, err
			}
		default:
			f.Close()
			return fail(err)
		}
	}
}

func (r *run) wait(w *MirrorWait) {
	if before := r.progress.Waiting.Swap(w); before == nil || before.For != w.For {
		r.report.note("%s", w)
	}
}

// ourselves is how this process is called where others wait for it.
func ourselves() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("process %d on %.100s", os.Getpid(), host)
}

// whose reads what a lock says of its holder.
func whose(text string) string {
	who, _, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(who, "process ") {
		return "another run"
	}
	return who
}

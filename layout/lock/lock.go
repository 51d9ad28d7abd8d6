package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	leaseText = 400 // bytes at most
	// A lease that is not renewed for leaseTime is free. Each process measures the
	// time by its own clock, from when it saw the lease change: clocks are never
	// compared.
	leaseTime  = 60 * time.Second
	leaseRenew = 10 * time.Second
	// The lease of a holder that is known to be dead is free after deadTime: its
	// last requests may still be on their way.
	deadTime = 5 * time.Second
	lockPoll = 200 * time.Millisecond
	// maxDenied is how often in a row a store may deny a condition that holds. The
	// lease of another process may come and go between two requests.
	maxDenied = 10
)

// errLeaseLost ends work whose lease another process took: this one was cut off
// from the tree for so long that it counted as dead.
var errLeaseLost = errors.New("cut off from the destination for too long: another run has taken over; run the command again")

// A Lock is held by the one process that may remove objects from a tree, or
// rely on what it found there. Other commands do not ask for it.
type Lock struct {
	Tree layout.Tree
	// LivenessDir is where the holders of leases on this machine show that they
	// live. "" is a folder among the system's temporary ones.
	LivenessDir string

	// Try has Do not wait: the error is a *HeldError if another process holds the
	// lock.
	Try bool

	Waiting func(*Wait) // is told whom Do waits for; nil when it waits no more
	Note    func(error) // is told what does not end the work
}

// A Wait tells which process is waited for.
type Wait struct {
	For string // "process 4711 on host", or "another run" if it does not say
	// Until is when its lock runs out if it gives no sign of life; zero for a lock
	// that ends with its process.
	Until time.Time
}

// A HeldError says which process holds a lock.
type HeldError struct{ By string }

func (e *HeldError) Error() string {
	return e.By + " is at work in this cache"
}

// A DirError says that a tree in a directory could not be locked.
type DirError struct {
	Path string // of the directory
	Err  error
}

func (e *DirError) Error() string { return fmt.Sprintf("lock %s: %v", e.Path, e.Err) }
func (e *DirError) Unwrap() error { return e.Err }

func (w *Wait) String() string {
	if w.Until.IsZero() {
		return "waiting for " + w.For + ", which writes to the same destination"
	}
	left := max(0, time.Until(w.Until)).Round(time.Second)
	return fmt.Sprintf("waiting for %s, which writes to the same destination, or %v if it does not live any more", w.For, left)
}

// Do does work while it holds the lock. A lease that is lost cancels the context
// of the work. In a store without conditional writes Do works without a lock,
// and notes that.
func (l *Lock) Do(ctx context.Context, work func(context.Context) error) error {
	if path := layout.TraitsOf(l.Tree).Path; path != "" {
		unlock, err := l.lockDir(ctx, path)
		if err != nil {
			return err
		}
		defer unlock()
		return work(ctx)
	}
	held := &lease{Lock: l, holder: rand.Text(), boot: bootID()}
	alive := showLife(l.livenessDir(), held.holder)
	left := false
	defer func() { alive.end(left) }()
	if err := held.take(ctx); err != nil {
		return err
	}
	if held.version == "" {
		return work(ctx) // the store cannot do it, and we have said so
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		held.renew(ctx, cancel)
	}()
	err := work(layout.SignWhile(ctx, held.ends))
	cancel(nil)
	<-done
	if !errors.Is(err, errLeaseLost) {
		left = !held.giveBack(context.WithoutCancel(ctx))
	}
	return err
}

// lockDir takes a lock that ends with the process.
func (l *Lock) lockDir(ctx context.Context, path string) (unlock func(), err error) {
	fail := func(err error) (func(), error) { return nil, &DirError{path, err} }
	dir, err := layout.OpenDir(path)
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	f, err := dir.OpenLock(layout.RunLockKey)
	if err != nil {
		return fail(err)
	}
	defer l.waiting(nil)
	for {
		err := layout.Flock(f, false)
		switch {
		case err == nil:
			if f.Truncate(0) == nil { // for people, and for processes that wait
				f.WriteAt([]byte(ourselves()+"\n"), 0)
			}
			return func() { f.Close() }, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			text, _ := io.ReadAll(io.NewSectionReader(f, 0, leaseText))
			if l.Try {
				f.Close()
				return nil, &HeldError{whose(string(text))}
			}
			l.waiting(&Wait{For: whose(string(text))})
			if err := layout.Sleep(ctx, lockPoll); err != nil {
				f.Close()
				return nil, err
			}
		default:
			f.Close()
			return fail(err)
		}
	}
}

func (l *Lock) waiting(w *Wait) {
	if l.Waiting != nil {
		l.Waiting(w)
	}
}

func (l *Lock) note(err error) {
	if l.Note != nil {
		l.Note(err)
	}
}

func (l *Lock) livenessDir() string {
	if l.LivenessDir == "" {
		return filepath.Join(os.TempDir(), "nixstatic-sync")
	}
	return l.LivenessDir
}

// ourselves is what other processes call this one while they wait for it.
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

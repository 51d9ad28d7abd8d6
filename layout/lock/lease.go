package lock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A lease is a lock made of an object that its holder keeps changing.
type lease struct {
	*Lock
	holder  string
	boot    string    // ours
	version string    // ETag of the object that we put; "" if there is none
	begun   time.Time // of that Put
	end     atomic.Pointer[time.Time]
}

// ends returns until when the holder of the lease may sign requests: others may take it
// some time later.
func (l *lease) ends() time.Time { return *l.end.Load() }

// renewed notes that the lease was put.
func (l *lease) renewed(version string, begun time.Time) {
	l.version, l.begun = version, begun
	end := begun.Add(leaseTime * 3 / 4)
	l.end.Store(&end)
}

// text is the lease: a line that tells its holder from all others, one for
// people, one that changes, and one that tells a process on the same machine
// where to look for a sign of life.
func (l *lease) text(n int) layout.Body {
	return layout.Bytes(fmt.Appendf(nil, "%s\n%s\nrenewed %d times\nboot %s\n", l.holder, ourselves(), n, l.boot))
}

// A held lease is one that was read.
type held struct {
	holder, who, boot string
	version           string // ETag
}

func (l *lease) read(ctx context.Context) (h held, err error) {
	body, info, err := l.Tree.Get(ctx, layout.RunLeaseKey)
	if err != nil {
		return h, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, leaseText))
	if err != nil {
		return h, err
	}
	lines := append(strings.Split(string(text), "\n"), "", "", "")
	boot, _ := strings.CutPrefix(lines[3], "boot ")
	return held{lines[0], whose(lines[1]), boot, info.ETag}, nil
}

// dead reports whether the holder of a lease is known to have died.
func (l *lease) dead(h held) bool {
	return l.boot != "" && h.boot == l.boot && died(l.livenessDir(), h.holder)
}

// put makes the lease ours, under a condition. The error is fs.ErrExist or
// layout.ErrChanged if someone else was faster.
func (l *lease) put(ctx context.Context, n int, opts layout.PutOptions) error {
	begun := time.Now()
	if err := l.Tree.Put(ctx, layout.RunLeaseKey, l.text(n), opts); err != nil {
		return err
	}
	h, err := l.read(ctx)
	if err == nil && h.holder != l.holder {
		err = layout.ErrChanged
	}
	if err == nil {
		l.renewed(h.version, begun)
	}
	return err
}

// take waits until the lease is free.
func (l *lease) take(ctx context.Context) error {
	defer l.waiting(nil)
	seen, since := "", time.Time{}
	opts := layout.PutOptions{IfAbsent: true}
	denied := 0 // how often in a row a condition was denied that holds
	for {
		err := l.put(ctx, 0, opts)
		if err != nil && denied >= maxDenied {
			err = errors.ErrUnsupported
		}
		switch {
		case err == nil:
			return l.prove(ctx)
		case errors.Is(err, errors.ErrUnsupported):
			l.alone()
			return nil
		case !errors.Is(err, fs.ErrExist) && !errors.Is(err, layout.ErrChanged) && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("lock the cache: %w", err)
		}
		for {
			h, err := l.read(ctx)
			condition := layout.PutOptions{IfMatch: h.version}
			absent := errors.Is(err, fs.ErrNotExist)
			if absent {
				condition = layout.PutOptions{IfAbsent: true}
			} else if err != nil {
				return fmt.Errorf("lock the cache: %w", err)
			}
			// A store that denies a condition which it itself shows to hold does not
			// keep to conditions, if it does so again and again.
			if opts != condition {
				denied = 0
			} else if denied++; denied > 1 {
				if err := layout.Sleep(ctx, lockPoll); err != nil {
					return err
				}
			}
			if absent {
				opts = condition
				break
			}
			if h.version != seen {
				seen, since = h.version, time.Now()
			}
			free := since.Add(leaseTime)
			if l.dead(h) {
				free = since.Add(deadTime)
			}
			if h.holder == l.holder || !time.Now().Before(free) {
				opts = condition
				break
			}
			if l.Try && !l.dead(h) {
				return &HeldError{h.who}
			}
			l.waiting(&Wait{For: h.who, Until: free})
			if err := layout.Sleep(ctx, leaseRenew/4); err != nil {
				return err
			}
		}
	}
}

// prove finds out whether the conditions that the lease rests on mean anything
// to the store.
func (l *lease) prove(ctx context.Context) error {
	absent, match, err := layout.KeepsConditions(ctx, l.Tree, layout.RunLeaseKey, l.text(0))
	if err != nil {
		return fmt.Errorf("lock the cache: %w", err)
	}
	if !absent || !match {
		l.alone()
		l.giveBack(context.WithoutCancel(ctx))
	}
	return nil
}

// alone goes on without a lease.
func (l *lease) alone() {
	l.version = ""
	never := time.Now().AddDate(100, 0, 0)
	l.end.Store(&never)
	layout.AssumeOneWriter(l.Tree)
	l.note(errors.New("the destination knows no conditional writes: see to it that nobody else writes to it"))
}

// renew keeps the lease until ctx ends, and ends ctx if it cannot.
func (l *lease) renew(ctx context.Context, cancel context.CancelCauseFunc) {
	for n := 1; layout.Sleep(ctx, leaseRenew) == nil; n++ {
		end := l.ends()
		limited, done := context.WithDeadline(ctx, end)
		err := l.put(limited, n, layout.PutOptions{IfMatch: l.version})
		if errors.Is(err, layout.ErrChanged) {
			// It may have been changed by ourselves, and the answer lost.
			var h held
			if h, err = l.read(limited); err == nil && h.holder == l.holder {
				if n == 1 && h.version == l.version {
					// It is too early for anyone else: the store denies what holds.
					done()
					l.alone()
					return
				}
				l.version = h.version // and it counts from the last that we know of
			} else if err == nil || errors.Is(err, fs.ErrNotExist) {
				err = errLeaseLost
			}
		}
		done()
		if err != nil && ctx.Err() == nil && (errors.Is(err, errLeaseLost) || !time.Now().Before(end)) {
			cancel(errLeaseLost)
			return
		}
	}
}

// giveBack frees the lease if it is ours. It reports whether it is not ours any
// more; else it runs out.
func (l *lease) giveBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, leaseRenew)
	defer cancel()
	h, err := l.read(ctx)
	if err == nil && h.holder == l.holder {
		return l.Tree.Delete(ctx, layout.RunLeaseKey) == nil
	}
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

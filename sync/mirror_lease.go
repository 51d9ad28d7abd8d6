package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A lease is a lock made of an object that its holder keeps changing.
type lease struct {
	*run
	holder  string
	version string    // ETag of the object that we put; "" if there is none
	begun   time.Time // of that Put
}

func (l *lease) text(n int) layout.Body {
	host, _ := os.Hostname() // for people who look
	return layout.Bytes(fmt.Appendf(nil, "%s\n%.100s %d\nrenewed %d times\n", l.holder, host, os.Getpid(), n))
}

// read returns who holds the lease.
func (l *lease) read(ctx context.Context) (holder, version string, err error) {
	body, info, err := l.Dest.Get(ctx, leaseKey)
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, leaseText))
	if err != nil {
		return "", "", err
	}
	name, _, _ := bytes.Cut(text, []byte("\n"))
	return string(name), info.ETag, nil
}

// put makes the lease ours, under a condition. The error is fs.ErrExist or
// layout.ErrChanged if someone else was faster.
func (l *lease) put(ctx context.Context, n int, opts layout.PutOptions) error {
	begun := time.Now()
	if err := l.Dest.Put(ctx, leaseKey, l.text(n), opts); err != nil {
		return err
	}
	holder, version, err := l.read(ctx)
	if err == nil && holder != l.holder {
		err = layout.ErrChanged
	}
	if err == nil {
		l.version, l.begun = version, begun
	}
	return err
}

// take waits until the lease is free.
func (l *lease) take(ctx context.Context) error {
	defer l.progress.Waiting.Store(false)
	seen, since := "", time.Time{}
	opts := layout.PutOptions{IfAbsent: true}
	for {
		err := l.put(ctx, 0, opts)
		switch {
		case err == nil:
			return l.prove(ctx)
		case errors.Is(err, errors.ErrUnsupported):
			l.alone()
			return nil
		case !errors.Is(err, fs.ErrExist) && !errors.Is(err, layout.ErrChanged) && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("lock the destination: %w", err)
		}
		for {
			holder, version, err := l.read(ctx)
			if errors.Is(err, fs.ErrNotExist) {
				opts = layout.PutOptions{IfAbsent: true}
				break
			}
			if err != nil {
				return fmt.Errorf("lock the destination: %w", err)
			}
			if version != seen {
				seen, since = version, time.Now()
			}
			if holder == l.holder || time.Since(since) >= leaseTime {
				opts = layout.PutOptions{IfMatch: version}
				break
			}
			l.wait()
			if err := sleepContext(ctx, leaseRenew/4); err != nil {
				return err
			}
		}
	}
}

// prove finds out whether the conditions that the lease rests on mean anything
// to the store: some take them and do not look.
func (l *lease) prove(ctx context.Context) error {
	for _, c := range []struct {
		opts   layout.PutOptions
		refuse error
	}{
		{layout.PutOptions{IfAbsent: true}, fs.ErrExist},
		{layout.PutOptions{IfMatch: "0123456789abcdef0123456789abcdef"}, layout.ErrChanged},
	} {
		err := l.Dest.Put(ctx, leaseKey, l.text(0), c.opts)
		if errors.Is(err, c.refuse) {
			continue
		}
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("lock the destination: %w", err)
		}
		l.alone()
		l.giveBack(context.WithoutCancel(ctx))
		return nil
	}
	return nil
}

// alone goes on without a lease.
func (l *lease) alone() {
	l.version = ""
	l.report.note("the destination knows no conditional writes: see to it that nobody else writes to it")
}

// renew keeps the lease until ctx ends, and ends ctx if it cannot.
func (l *lease) renew(ctx context.Context, cancel context.CancelCauseFunc) {
	for n := 1; sleepContext(ctx, leaseRenew) == nil; n++ {
		end := l.begun.Add(leaseTime * 3 / 4) // before others may take it
		limited, done := context.WithDeadline(ctx, end)
		err := l.put(limited, n, layout.PutOptions{IfMatch: l.version})
		if errors.Is(err, layout.ErrChanged) {
			// It may have been changed by ourselves, and the answer lost.
			var holder, version string
			if holder, version, err = l.read(limited); err == nil && holder == l.holder {
				l.version = version // and it counts from the last that we know of
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

// giveBack frees the lease if it is ours. If that fails it runs out.
func (l *lease) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseRenew)
	defer cancel()
	if holder, _, err := l.read(ctx); err == nil && holder == l.holder {
		l.Dest.Delete(ctx, leaseKey)
	}
}

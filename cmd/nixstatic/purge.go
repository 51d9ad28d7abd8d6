package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// purgeBatch is how many URLs a hook gets at once.
	purgeBatch = 500
	// purgeWait is how long a hook may take for them.
	purgeWait = 5 * time.Minute
	// purgeEvery is how often a server runs it.
	purgeEvery = 10 * time.Second
	// A client may send NARs that are there again and again. Others are told of so many at
	// once, and of one more in each span of time.
	maxResent  = 2000
	resentStep = 10 * time.Second
)

func purgeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "purge-hook", Usage: "tell a proxy or CDN before the cache what changed: `CMD` is run by sh with URLs on standard input, one a line, 500 at most (docs/pruning.md has examples)"},
		&cli.StringFlag{Name: "purge-url", Usage: "the `URL` of the cache there, which each URL for --purge-hook begins with"},
	}
}

// A purger tells other caches of objects that changed or went. A nil purger does
// nothing.
type purger struct {
	command, base string
	wait          time.Duration // for one run of the command
	resent        *share.Budget // of NARs

	mu   sync.Mutex
	keys map[layout.Key]bool // each once: clients may replace an object many times while a hook runs
}

// readPurger reads purgeFlags; nil if there is nothing to tell.
func readPurger(c *cli.Context) (*purger, error) {
	command, base := c.String("purge-hook"), c.String("purge-url")
	if command == "" && base == "" && !c.IsSet("purge-hook") {
		return nil, nil
	}
	u, err := url.Parse(base)
	if command == "" || err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return nil, usage("--purge-hook needs a command, and --purge-url such as https://cache.example.org")
	}
	return &purger{command: command, base: strings.TrimRight(base, "/") + "/", wait: purgeWait, resent: share.NewBudget(maxResent, resentStep), keys: map[layout.Key]bool{}}, nil
}

// put notes an object that was put in the place of another, unless a client has done so with
// too many NARs: they had the same name, and most likely the same bytes.
func (p *purger) put(ctx context.Context, key layout.Key) {
	if key.Kind() == layout.KindNAR && share.From(ctx) != "" {
		if _, err := p.resent.Take(ctx, 1, 0); err != nil {
			return
		}
	}
	p.add(key)
}

// add notes objects that changed or went.
func (p *purger) add(keys ...layout.Key) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if key.Kind().Public() {
			p.keys[key] = true
		}
	}
}

// run runs the hook for what was noted. The tree is done with by then: what fails is
// told, and not tried again.
func (p *purger) run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	keys := slices.Sorted(maps.Keys(p.keys))
	clear(p.keys)
	p.mu.Unlock()
	var failed error
	untold := 0
	for some := range slices.Chunk(keys, purgeBatch) {
		var list strings.Builder
		for _, key := range some {
			list.WriteString(p.base + (&url.URL{Path: string(key)}).EscapedPath() + "\n")
		}
		if hangs := errors.Is(failed, errHangs); hangs || ctx.Err() != nil && failed != nil {
			untold += len(some)
			continue // the next one would take as long
		}
		if err := p.call(ctx, list.String()); err != nil {
			untold += len(some)
			failed = cmp.Or(failed, err)
		}
	}
	if failed == nil {
		return nil
	}
	return withHint(fmt.Errorf("%w (%s of %d not purged)", failed, plural(int64(untold), "URL"), len(keys)),
		"the cache itself is done; a proxy or CDN before it may answer with what they have until it expires there: narinfos for five minutes, NARs for a year")
}

// errHangs says that a hook took longer than it may.
var errHangs = errors.New("it took too long")

// tell runs the hook for a server, whose log has what fails.
func (p *purger) tell(ctx context.Context, log *slog.Logger) {
	if err := p.run(ctx); err != nil && ctx.Err() == nil {
		log.Error("other caches were not told of what changed", "err", err)
	}
}

// keepTelling runs the hook now and then for what uploads replace, until ctx ends.
func (p *purger) keepTelling(ctx context.Context, log *slog.Logger) {
	if p == nil {
		return
	}
	for tick := time.NewTicker(purgeEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			p.tell(ctx, log)
		}
	}
}

func (p *purger) call(ctx context.Context, list string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.wait, errHangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", p.command)
	cmd.Stdin = strings.NewReader(list)
	// The hook ends with all that it started, such as the curl that hangs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out firstBytes
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // it left something running
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return fmt.Errorf("run the purge hook: %w", err)
}

// firstBytes keeps the first bytes of what a hook says, which may be without an end.
type firstBytes []byte

func (f *firstBytes) Write(b []byte) (int, error) {
	const most = 500
	*f = append(*f, b[:min(len(b), most-len(*f))]...)
	return len(b), nil
}

// purging has a run of gc tell a purger.
func (p *purger) purging(o gc.Options) gc.Options {
	if p != nil {
		o.Gone = func(keys []layout.Key) { p.add(keys...) }
	}
	return o
}

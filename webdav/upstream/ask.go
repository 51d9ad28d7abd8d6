package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/recent"
)

const (
	maxFailuresInARow = 3
	leftAloneFor      = 30 * time.Second
	// maxLeftAlone bounds how long a cache is left alone that asks for it.
	maxLeftAlone = 5 * time.Minute
)

// An askedCache is an upstream with a memory of its failures. A cache that
// does not answer would hold up each upload by its timeout: after a few failures in
// a row it is left alone for a while, and then one question is tried.
type askedCache struct {
	Cache
	log *slog.Logger

	mu       sync.Mutex
	failures int
	until    time.Time // not asked before
	why      error     // the last failure
}

// errRound says that a question came from the cache which it is for.
var errRound = fmt.Errorf("the question came from there: %w", fs.ErrNotExist)

// ask returns the record of a path, if one of the cache's keys signed it. The
// error is fs.ErrNotExist if the cache says that it has none, or has one that
// does not count.
func (c *askedCache) ask(ctx context.Context, hash, storeDir string, timeout time.Duration, now func() time.Time) ([]byte, error) {
	if err := c.mayAsk(now()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer in %s", timeout))
	defer cancel()
	text, err := layout.ReadAll(ctx, c.Reader, layout.NarInfoKeyOf(hash))
	var loop interface{ Loops() bool }
	if errors.As(err, &loop) && loop.Loops() {
		c.answered()
		return nil, errRound
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		c.failed(err, now())
		return nil, err
	}
	c.answered()
	if err != nil {
		return nil, fs.ErrNotExist
	}
	n, err := layout.VerifyNarInfo(text, hash, storeDir, c.Keys)
	if err != nil {
		// Not what this upstream was named for: as good as absent, and worth a word.
		c.log.Warn("a narinfo of an upstream does not count", "upstream", c.URL, "hash", hash, "err", err)
		return nil, fs.ErrNotExist
	}
	if c.Only != nil && !c.Only(n.Path) {
		return nil, fs.ErrNotExist
	}
	return text, nil
}

func (c *askedCache) mayAsk(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures < maxFailuresInARow {
		return nil
	}
	if now.Before(c.until) {
		return fmt.Errorf("not asked, since it failed %d times in a row: %w", c.failures, c.why)
	}
	c.until = now.Add(leftAloneFor) // requests that come meanwhile do not wait for our try
	return nil
}

func (c *askedCache) failed(err error, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.failures
	c.failures++
	c.why = err
	pause := leftAloneFor
	var busy interface{ AskedToWait() time.Duration }
	if errors.As(err, &busy) && busy.AskedToWait() > 0 { // it has said enough
		c.failures = max(c.failures, maxFailuresInARow)
		pause = min(max(pause, busy.AskedToWait()), maxLeftAlone)
	}
	if c.failures >= maxFailuresInARow {
		c.until = now.Add(pause)
	}
	if before < maxFailuresInARow && c.failures >= maxFailuresInARow {
		c.log.Warn("upstream does not answer, and is left alone for a while", "upstream", c.URL, "err", err)
	}
}

func (c *askedCache) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures >= maxFailuresInARow {
		c.log.Info("upstream answers again", "upstream", c.URL)
	}
	c.failures, c.why = 0, nil
}

// maxAnswers bounds what is remembered of answers, in bytes.
const maxAnswers = 16 << 20

// answers remembers an answer for each hash until its time is over, if there are not
// too many.
type answers struct{ recent.Table[string, answer] }

type answer struct {
	text  []byte // nil: none has it
	from  string // the URL of the cache
	until time.Time
}

// err is what the answer says.
func (a answer) err() error {
	if a.text == nil {
		return fs.ErrNotExist
	}
	return nil
}

func newAnswers() *answers { return &answers{recent.Table[string, answer]{Limit: maxAnswers}} }

func (a *answers) get(hash string, now time.Time) (answer, bool) {
	found, ok := a.Get(hash)
	return found, ok && now.Before(found.until)
}

func (a *answers) put(hash string, found answer, now time.Time, keep time.Duration) {
	found.until = now.Add(keep)
	a.Put(strings.Clone(hash), found, int64(len(found.text))) // it may be a part of a whole narinfo
}

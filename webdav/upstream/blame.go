package upstream

import (
	"fmt"
	"time"

	"github.com/nixstatic/nixstatic/webdav"
)

// Doubt is told that the record of a path leads to nothing of use: the cache has not
// got the NAR, or has another. The cache is not asked for the path for as long as
// absence is remembered, and counts as one that has none.
func (u *Upstreams) Doubt(hash, url string) {
	u.doubted.put(hash+" "+url, answer{}, u.now(), u.cfg.AbsentFor)
	u.Forget(hash)
}

// Avoid is told that a cache has the path, and that its NAR could not be had from there
// just now. For a while the others are asked for the path first.
func (u *Upstreams) Avoid(hash, url string) {
	if len(u.caches) > 1 {
		u.avoided.put(hash+" "+url, answer{}, u.now(), leftAloneFor)
	}
}

func (u *Upstreams) avoids(hash, url string) bool {
	_, avoided := u.avoided.get(hash+" "+url, u.now())
	return avoided
}

// Forget has the caches asked again for a path.
func (u *Upstreams) Forget(hash string) { u.known.put(hash, answer{}, u.now(), -time.Hour) }

// MayAsk returns nil, or why a cache is left alone at this moment.
func (u *Upstreams) MayAsk(url string) error {
	for _, c := range u.caches {
		if c.URL == url {
			if err := c.mayAsk(u.now()); err != nil {
				return fmt.Errorf("%w: %s: %w", webdav.ErrUpstream, url, err)
			}
		}
	}
	return nil
}

// Answered is told that a cache sent a NAR.
func (u *Upstreams) Answered(url string) {
	for _, c := range u.caches {
		if c.URL == url {
			c.answered()
		}
	}
}

// Failed is told that a cache broke off or was too slow with a NAR, which counts like
// a question without an answer. With worst it is left alone at once.
func (u *Upstreams) Failed(url string, err error, worst bool) {
	for _, c := range u.caches {
		if c.URL != url {
			continue
		}
		c.failed(err, u.now())
		for worst && !c.alone(u.now()) {
			c.failed(err, u.now())
		}
	}
}

// A State is how a cache does.
type State struct {
	URL string
	// Why a cache is left alone at this moment; nil: it is asked.
	Alone error
}

// States tells how the caches do, in their order.
func (u *Upstreams) States() []State {
	var all []State
	for _, c := range u.caches {
		s := State{URL: c.URL}
		if c.alone(u.now()) {
			c.mu.Lock()
			s.Alone = c.why
			c.mu.Unlock()
		}
		all = append(all, s)
	}
	return all
}

// alone reports whether a cache is not asked at this moment.
func (c *askedCache) alone(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures >= maxFailuresInARow && now.Before(c.until)
}

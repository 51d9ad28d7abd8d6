package webdav

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	xwebdav "golang.org/x/net/webdav"
)

const (
	// maxLocks bounds the locks of all clients. Each costs its name, its owner's
	// text and some 300 bytes.
	maxLocks = 1000
	// maxLockTime is how long a lock lives without being refreshed. Clients that
	// ask for more are told of this.
	maxLockTime = time.Hour
	maxOwner    = 1 << 10
)

// locks are the exclusive write locks of WebDAV clients, in memory: they are to
// keep two people from editing one file, and nothing that a cache needs. Names
// are the paths of URLs, without a slash at their end.
//
// The library's own have no bound, never expire unless asked to, and give out
// tokens that can be guessed.
type locks struct {
	mu      sync.Mutex
	byToken map[string]*lock
	byName  map[string]*lock
}

type lock struct {
	xwebdav.LockDetails
	token   string
	expires time.Time
	held    bool // by a request that is under way
}

func newLocks() *locks {
	return &locks{byToken: map[string]*lock{}, byName: map[string]*lock{}}
}

// Confirm claims the lock that one of the conditions names, for as long as a
// request takes. The second name is for MOVE and COPY, which never come here.
func (l *locks) Confirm(now time.Time, name, second string, conditions ...xwebdav.Condition) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	for _, c := range conditions {
		found := l.byToken[c.Token]
		if found == nil || c.Not || found.held || second != "" || !found.covers(trim(name)) {
			continue
		}
		found.held = true
		return func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			found.held = false
		}, nil
	}
	return nil, xwebdav.ErrConfirmationFailed
}

// Create locks a name. Requests without an If header are locked by the library
// for as long as they take; those locks do not expire.
func (l *locks) Create(now time.Time, d xwebdav.LockDetails) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	d.Root = trim(d.Root)
	if l.holds(d.Root) != nil {
		return "", xwebdav.ErrLocked
	}
	if !d.ZeroDepth {
		for name := range l.byName {
			if strings.HasPrefix(name, d.Root+"/") {
				return "", xwebdav.ErrLocked
			}
		}
	}
	if len(l.byToken) >= maxLocks {
		return "", xwebdav.ErrLocked // clients know that to be temporary
	}
	if len(d.OwnerXML) > maxOwner {
		d.OwnerXML = ""
	}
	found := &lock{LockDetails: d, token: newLockToken()}
	if d.Duration >= 0 {
		found.expires = now.Add(min(d.Duration, maxLockTime))
	}
	l.byToken[found.token], l.byName[d.Root] = found, found
	return found.token, nil
}

// Refresh gives a lock more time.
func (l *locks) Refresh(now time.Time, token string, duration time.Duration) (xwebdav.LockDetails, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	found := l.byToken[token]
	if found == nil {
		return xwebdav.LockDetails{}, xwebdav.ErrNoSuchLock
	}
	if found.held {
		return xwebdav.LockDetails{}, xwebdav.ErrLocked
	}
	if duration < 0 || duration > maxLockTime {
		duration = maxLockTime
	}
	found.Duration, found.expires = duration, now.Add(duration)
	return found.LockDetails, nil
}

// Unlock removes a lock. Whoever knows its token may.
func (l *locks) Unlock(now time.Time, token string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	found := l.byToken[token]
	if found == nil {
		return xwebdav.ErrNoSuchLock
	}
	if found.held {
		return xwebdav.ErrLocked
	}
	l.drop(found)
	return nil
}

// holder returns the token of the lock that keeps others from changing a name,
// or "".
func (l *locks) holder(name string) string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(time.Now())
	if found := l.holds(trim(name)); found != nil {
		return found.token
	}
	return ""
}

// covers reports whether a token is that of a lock on a name.
func (l *locks) covers(token, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.byToken[token]
	return found != nil && found.covers(trim(name))
}

// active describes the lock on a name to those who ask what is locked.
func (l *locks) active(name string) (found lock, ok bool) {
	if l == nil {
		return lock{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byName) == 0 {
		return lock{}, false
	}
	now := time.Now()
	l.expire(now)
	if p := l.holds(trim(name)); p != nil && p.Duration >= 0 {
		found, ok = *p, true
		found.Duration = found.expires.Sub(now)
	}
	return found, ok
}

// holds finds the lock on a name or on a folder above it.
func (l *locks) holds(name string) *lock {
	if found := l.byName[name]; found != nil {
		return found
	}
	for above := name; above != ""; {
		above = above[:strings.LastIndexByte(above, '/')]
		if found := l.byName[above]; found != nil && !found.ZeroDepth {
			return found
		}
	}
	return nil
}

func (l *locks) expire(now time.Time) {
	for _, found := range l.byToken {
		if !found.held && !found.expires.IsZero() && now.After(found.expires) {
			l.drop(found)
		}
	}
}

func (l *locks) drop(found *lock) {
	delete(l.byToken, found.token)
	delete(l.byName, found.Root)
}

func (f *lock) covers(name string) bool {
	return name == f.Root || !f.ZeroDepth && strings.HasPrefix(name, f.Root+"/")
}

func trim(name string) string { return strings.TrimSuffix(name, "/") }

// newLockToken makes a URI that cannot be guessed. Format: RFC 4918, appendix C.
func newLockToken() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("opaquelocktoken:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var _ xwebdav.LockSystem = (*locks)(nil)

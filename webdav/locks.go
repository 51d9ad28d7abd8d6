package webdav

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
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
// keep two programs from editing one file, and nothing that a cache needs.
//
// A lock binds the client that took it and no other, as the objects of a cache are what
// their names say, and no upload takes anything away. Only pages can be edited, so the
// lock of a page binds everyone. Only names are locked, never what is in a folder. Each
// client has its share of them.
//
// The library's own have no bound, never expire unless asked to, and give out
// tokens that can be guessed.
type locks struct {
	prefix string // of the URL; a lock is of its path, without a slash at the end
	room   *share.Pool

	mu      sync.Mutex
	byToken map[string]*lock
	byName  map[lockName]*lock
	next    time.Time // no lock expires before; zero: none does
}

type lockName struct {
	client share.Client // whom it binds; "" for everyone
	path   string
}

type lock struct {
	xwebdav.LockDetails
	name    lockName
	owner   share.Client
	room    *share.Part
	token   string
	expires time.Time
	held    bool // by a request that is under way
}

func newLocks(prefix string) *locks {
	return &locks{prefix: prefix, room: share.NewPool(maxLocks, 0), byToken: map[string]*lock{}, byName: map[lockName]*lock{}}
}

// A lockSystem is what the library does with locks for one client.
type lockSystem struct {
	*locks
	client share.Client
}

func (l *locks) name(c share.Client, path string) lockName {
	path = strings.TrimSuffix(path, "/")
	if layout.Key(strings.TrimPrefix(path, l.prefix)).Kind() == layout.KindPage {
		c = ""
	}
	return lockName{c, path}
}

// Confirm claims the lock that one of the conditions names, for as long as a
// request takes. The second name is for MOVE and COPY, which never come here.
func (l lockSystem) Confirm(now time.Time, path, second string, conditions ...xwebdav.Condition) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	for _, c := range conditions {
		found := l.byToken[c.Token]
		if found == nil || c.Not || found.held || second != "" || found.name != l.name(l.client, path) {
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
func (l lockSystem) Create(now time.Time, d xwebdav.LockDetails) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	name := l.name(l.client, d.Root)
	if l.byName[name] != nil {
		return "", xwebdav.ErrLocked
	}
	room, err := l.room.Take(share.As(context.Background(), l.client), 1)
	if err != nil {
		return "", xwebdav.ErrLocked // clients know that to be temporary
	}
	if len(d.OwnerXML) > maxOwner {
		d.OwnerXML = ""
	}
	found := &lock{LockDetails: d, name: name, owner: l.client, room: room, token: newLockToken()}
	if d.Duration >= 0 {
		l.expires(found, now.Add(min(d.Duration, maxLockTime)))
	}
	l.byToken[found.token], l.byName[name] = found, found
	return found.token, nil
}

// Refresh gives a lock more time.
func (l lockSystem) Refresh(now time.Time, token string, duration time.Duration) (xwebdav.LockDetails, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, err := l.find(now, token)
	if err != nil {
		return xwebdav.LockDetails{}, err
	}
	if duration < 0 || duration > maxLockTime {
		duration = maxLockTime
	}
	found.Duration = duration
	l.expires(found, now.Add(duration))
	return found.LockDetails, nil
}

// Unlock removes a lock.
func (l lockSystem) Unlock(now time.Time, token string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, err := l.find(now, token)
	if err == nil {
		l.drop(found)
	}
	return err
}

// find returns a lock of the client that no request is using.
func (l lockSystem) find(now time.Time, token string) (*lock, error) {
	l.expire(now)
	switch found := l.byToken[token]; {
	case found == nil || found.owner != l.client:
		return nil, xwebdav.ErrNoSuchLock
	case found.held:
		return nil, xwebdav.ErrLocked
	default:
		return found, nil
	}
}

// holder returns the token of the lock that keeps a client from changing what is
// at a path, or "".
func (l *locks) holder(c share.Client, path string) string {
	found, _ := l.look(c, path)
	return found.token
}

// active describes the lock on a path to a client that asks what is locked.
func (l *locks) active(c share.Client, path string) (found lock, ok bool) {
	found, ok = l.look(c, path)
	return found, ok && found.Duration >= 0
}

func (l *locks) look(c share.Client, path string) (found lock, ok bool) {
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
	p := l.byName[l.name(c, path)]
	if p == nil {
		return lock{}, false
	}
	found = *p
	if found.Duration >= 0 {
		found.Duration = found.expires.Sub(now)
	}
	return found, true
}

// covers reports whether a token is that of a lock on a path.
func (l *locks) covers(token, path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.byToken[token]
	return found != nil && found.name.path == strings.TrimSuffix(path, "/")
}

// expires says when a lock will.
func (l *locks) expires(found *lock, at time.Time) {
	found.expires = at
	if l.next.IsZero() || at.Before(l.next) {
		l.next = at
	}
}

// expire drops what has expired. It is called for each file of a listing.
func (l *locks) expire(now time.Time) {
	if l.next.IsZero() || now.Before(l.next) {
		return
	}
	l.next = time.Time{}
	for _, found := range l.byToken {
		switch {
		case found.expires.IsZero():
		case !found.held && now.After(found.expires):
			l.drop(found)
		default:
			l.expires(found, found.expires)
		}
	}
}

func (l *locks) drop(found *lock) {
	found.room.Release()
	delete(l.byToken, found.token)
	delete(l.byName, found.name)
}

// newLockToken makes a URI that cannot be guessed. Format: RFC 4918, appendix C.
func newLockToken() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("opaquelocktoken:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var _ xwebdav.LockSystem = lockSystem{}

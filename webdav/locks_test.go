package webdav

import (
	"fmt"
	"strings"
	"testing"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/nixstatic/nixstatic/layout"
)

const lockBody = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>` +
	`<D:locktype><D:write/></D:locktype><D:owner><D:href>http://example.org/me</D:href></D:owner></D:lockinfo>`

// lock locks a name and returns the token with its brackets.
func (r *rig) lock(t *testing.T, path string, want int) string {
	t.Helper()
	got := r.do(t, "LOCK", path, strings.NewReader(lockBody), "Timeout: Infinite, Second-4100000000", "Depth: 0")
	if got.Status != want {
		t.Fatalf("LOCK %s: %d %s", path, got.Status, got.Body)
	}
	return got.Header.Get("Lock-Token")
}

func TestLocking(t *testing.T) {
	r, paths := populated(t)
	name := "/upload/" + string(layout.NarInfoKey(paths.Named("app").Info.Path))
	token := r.lock(t, name, 200)
	if got := r.propfind(t, name, "0", "").props(0, "200"); !strings.Contains(strings.Join(got, " "), strings.Trim(token, "<>")) {
		t.Errorf("the lock is not shown: %q", got)
	}
	if got := r.do(t, "LOCK", name, strings.NewReader(lockBody)); got.Status != 423 {
		t.Errorf("a second lock: %d", got.Status)
	}
	refreshed := r.do(t, "LOCK", name, nil, "If: ("+token+")", "Timeout: Second-60")
	if refreshed.Status != 200 || !strings.Contains(refreshed.Body, "Second-60<") {
		t.Errorf("a refresh: %d %s", refreshed.Status, refreshed.Body)
	}
	if got := r.do(t, "UNLOCK", name, nil, "Lock-Token: <opaquelocktoken:other>"); got.Status != 409 {
		t.Errorf("UNLOCK with another's token: %d", got.Status)
	}
	for _, path := range []string{"/upload/README", "/upload/nar/x", "/upload/.nixstatic/x", "/upload/.nixstatic/held/x"} {
		if got := r.do(t, "LOCK", path, strings.NewReader(lockBody)); got.Status != 403 {
			t.Errorf("LOCK %s: %d %s", path, got.Status, got.Body)
		}
	}
	if got := r.do(t, "LOCK", "/nix-cache-info", strings.NewReader(lockBody)); got.Status != 405 {
		t.Errorf("LOCK at the read URL: %d", got.Status)
	}
	if got := r.do(t, "LOCK", name, strings.NewReader(strings.Repeat("<a>", maxXML))); got.Status != 400 {
		t.Errorf("LOCK with a body without end: %d", got.Status)
	}
}

func TestLocks(t *testing.T) {
	all := newLocks("/upload/")
	l := lockSystem{all, "me"}
	now := time.Now()
	forever := xwebdav.LockDetails{Root: "/upload/a", Duration: time.Hour * 1000, ZeroDepth: true, OwnerXML: strings.Repeat("x", maxOwner+1)}
	first, err := l.Create(now, forever)
	if err != nil {
		t.Fatal(err)
	}
	if found, ok := all.active("me", "/upload/a/"); !ok || found.OwnerXML != "" || found.Duration > maxLockTime {
		t.Errorf("active: %+v", found)
	}
	if _, ok := all.active("you", "/upload/a"); ok || all.holder("you", "/upload/a") != "" || all.holder("me", "/upload/a/x") != "" || all.holder("me", "/upload") != "" {
		t.Error("a lock binds others, or other names")
	}
	if _, err := l.Create(now, forever); err != xwebdav.ErrLocked {
		t.Errorf("a second lock: %v", err)
	}
	if _, err := l.Create(now.Add(2*maxLockTime), forever); err != nil {
		t.Errorf("after a lock expired: %v", err)
	}
	if err := l.Unlock(now.Add(2*maxLockTime), first); err != xwebdav.ErrNoSuchLock {
		t.Errorf("unlock what expired: %v", err)
	}
	page, err := l.Create(now, xwebdav.LockDetails{Root: "/upload/index.html", Duration: time.Hour})
	if err != nil || all.holder("you", "/upload/index.html") != page {
		t.Errorf("a page is not locked for everyone: %v", err)
	}
	all = newLocks("/upload/")
	l = lockSystem{all, "me"}
	folder, err := l.Create(now, xwebdav.LockDetails{Root: "/upload/nar/", Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	release, err := l.Confirm(now, "/upload/nar", "", xwebdav.Condition{Token: folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(now, folder); err != xwebdav.ErrLocked {
		t.Errorf("unlock during a request: %v", err)
	}
	release()
	for i := range 2 * maxLocks {
		_, err := l.Create(now, xwebdav.LockDetails{Root: fmt.Sprint("/upload/", i), Duration: time.Minute, ZeroDepth: true})
		if err != nil != (i >= maxLocks/2-1) {
			t.Fatalf("lock %d: %v", i, err)
		}
	}
	all.expire(now.Add(2 * maxLockTime))
	if _, err := all.room.Take(t.Context(), maxLocks/2); err != nil || len(all.byName)+len(all.byToken) != 0 {
		t.Errorf("locks that expired keep their room: %v, %d, %d", err, len(all.byName), len(all.byToken))
	}
	for header, want := range map[string]time.Duration{"": maxLockTime, "Infinite": maxLockTime, "Second-60": time.Minute, "x, Second-5": 5 * time.Second,
		"Second-99999999999": maxLockTime, "Second-0": time.Second, "Second--1": maxLockTime} {
		if got := lockTime(header); got != want {
			t.Errorf("Timeout %q: %v, want %v", header, got, want)
		}
	}
}

package webdav

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// Two clients with a token each, which may both upload.
const (
	alice   = "X-Who: alice"
	mallory = "X-Who: mallory"
)

// newSiege starts a server that tells clients apart.
func newSiege(t *testing.T, edit func(*Config, *inbox.Config)) *rig {
	t.Helper()
	return newRig(t, func(c *Config, in *inbox.Config) {
		c.Auth = authFunc(func(*http.Request, Scope) error { return nil })
		if edit != nil {
			edit(c, in)
		}
	})
}

// The lock of a client binds no other client, whatever they send and however.
func TestLocksBindOneClient(t *testing.T) {
	dir, _ := example(t)
	r := newSiege(t, nil)
	for _, folder := range []string{"/upload/", "/upload", "/upload/nar", "/upload/nar/", "/upload/log/"} {
		for _, depth := range []string{"Depth: infinity", "X: no Depth at all"} {
			if got := r.do(t, "LOCK", folder, strings.NewReader(lockBody), mallory, depth, "Timeout: Infinite"); got.Status != 403 {
				t.Errorf("LOCK %s, %s: %d %s", folder, depth, got.Status, got.Body)
			}
		}
		if got := r.do(t, "LOCK", folder, strings.NewReader(lockBody), mallory, "Depth: 0"); got.Status != 200 && got.Status != 423 {
			t.Errorf("LOCK %s, Depth: 0: %d %s", folder, got.Status, got.Body)
		}
	}
	tokens := map[string]string{}
	for _, key := range keysOf(t, dir) {
		name := "/upload/" + string(key)
		got := r.do(t, "LOCK", name, strings.NewReader(lockBody), mallory, "Timeout: Infinite")
		if got.Status != 200 && got.Status != 201 {
			t.Fatalf("LOCK %s: %d %s", name, got.Status, got.Body)
		}
		tokens[name] = got.Header.Get("Lock-Token")
	}
	for i, key := range keysOf(t, dir) {
		name := "/upload/" + string(key)
		if i%2 == 0 {
			if got := r.do(t, "LOCK", name, strings.NewReader(lockBody), alice); got.Status != 200 && got.Status != 201 {
				t.Errorf("LOCK %s by another: %d %s", name, got.Status, got.Body)
			} else {
				r.do(t, "UNLOCK", name, nil, alice, "Lock-Token: "+got.Header.Get("Lock-Token"))
			}
		}
		agent := "User-Agent: rclone/v1.60.1" // which may send records in any order
		if key.Kind() != layout.KindNarInfo {
			agent = []string{oldNix, newNix, agent}[i%3]
		}
		if got := r.put(t, dir, key, alice, agent); got.Status != 201 && got.Status != 204 {
			t.Errorf("PUT %s, locked by another: %d %s", name, got.Status, got.Body)
		}
		if got := r.do(t, "PROPPATCH", name, strings.NewReader(proppatch("urn:schemas-microsoft-com:", "Win32FileAttributes")), alice); got.Status != 207 {
			t.Errorf("PROPPATCH %s, locked by another: %d %s", name, got.Status, got.Body)
		}
		if got := r.do(t, "PROPFIND", name, nil, alice, "Depth: 0"); got.Status != 207 || strings.Contains(got.Body, "opaquelocktoken") {
			t.Errorf("PROPFIND %s: %d, it shows the lock of another: %s", name, got.Status, got.Body)
		}
		if got := r.do(t, "UNLOCK", name, nil, alice, "Lock-Token: "+tokens[name]); got.Status != 409 {
			t.Errorf("UNLOCK %s by another: %d", name, got.Status)
		}
	}
	// Nix knows of no locks, not even of those that its own user has.
	if got := r.put(t, dir, keysOf(t, dir)[0], mallory, newNix); got.Status != 204 {
		t.Errorf("PUT by a Nix of who locked: %d %s", got.Status, got.Body)
	}
	r.whole(t)
}

// A single client cannot take all locks.
func TestLocksAreShared(t *testing.T) {
	r := newSiege(t, nil)
	taken := 0
	for i := range maxLocks {
		got := r.do(t, "LOCK", fmt.Sprintf("/upload/%032d.narinfo", i), strings.NewReader(lockBody), mallory)
		if got.Status == 423 {
			break
		}
		taken++
	}
	if taken == 0 || taken > maxLocks/2 {
		t.Errorf("one client takes %d of %d locks", taken, maxLocks)
	}
	r.lockAs(t, alice, "/upload/"+strings.Repeat("z", 32)+".narinfo")
}

func (r *rig) lockAs(t *testing.T, who, path string) {
	t.Helper()
	if got := r.do(t, "LOCK", path, strings.NewReader(lockBody), who); got.Status != 201 && got.Status != 200 {
		t.Errorf("LOCK %s: %d %s", path, got.Status, got.Body)
	}
}

// A note of one client is not shown to others, which have their own.
func TestAsideIsShared(t *testing.T) {
	r := newSiege(t, nil)
	put := func(who, name, text string) {
		t.Helper()
		if got := r.do(t, "PUT", "/upload/"+name, strings.NewReader(text), who); got.Status != 201 {
			t.Errorf("PUT %s: %d %s", name, got.Status, got.Body)
		}
	}
	put(alice, "desktop.ini", "mine")
	if got := r.do(t, "MKCOL", "/upload/build-trace-v2/mine", nil, alice); got.Status != 201 {
		t.Errorf("MKCOL: %d %s", got.Status, got.Body)
	}
	put(mallory, "desktop.ini", "IconResource=\\\\evil\\x")
	for i := range maxNotes + 10 {
		put(mallory, fmt.Sprintf("._%d", i), "x")
	}
	for i := range maxMade + 10 {
		r.do(t, "MKCOL", fmt.Sprintf("/upload/build-trace-v2/%d", i), nil, mallory)
	}
	if got := r.do(t, "GET", "/upload/desktop.ini", nil, alice); got.Body != "mine" {
		t.Errorf("desktop.ini: %d %q", got.Status, got.Body)
	}
	if got := r.do(t, "PROPFIND", "/upload/build-trace-v2/mine", nil, alice, "Depth: 0"); got.Status != 207 {
		t.Errorf("a folder that was made: %d", got.Status)
	}
}

func proppatch(space string, names ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="%s"><D:set><D:prop>`, space)
	for _, name := range names {
		fmt.Fprintf(&b, "<Z:%s>x</Z:%s>", name, name)
	}
	return b.String() + "</D:prop></D:set></D:propertyupdate>"
}

// An upstream that does not answer is not told as trouble of ours.
func TestUpstreamTrouble(t *testing.T) {
	dir, paths := example(t)
	r := newSiege(t, func(_ *Config, in *inbox.Config) {
		in.Provided = func(context.Context, layout.StorePath) (bool, error) {
			return false, fmt.Errorf("%w: timeout", ErrUpstream)
		}
	})
	for _, key := range keysOf(t, dir) {
		if key.Kind() == layout.KindNAR {
			r.put(t, dir, key, alice)
		}
	}
	got := r.put(t, dir, layout.NarInfoKey(paths.Named("app").Info.Path), alice)
	if got.Status != 503 || !strings.Contains(got.Body, "upstream") || strings.Contains(got.Body, "storage") || !strings.HasPrefix(r.recorded.last(), ResultUpstream) {
		t.Errorf("%d %s, recorded as %q", got.Status, got.Body, r.recorded.last())
	}
}

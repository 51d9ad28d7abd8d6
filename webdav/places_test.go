package webdav

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// tokenOf is an Authenticator that takes any name for a token.
type tokenOf struct{}

func (tokenOf) Authorize(r *http.Request, _ Scope) (string, error) {
	if name := r.Header.Get("X-Token"); name != "" {
		return name, nil
	}
	return "", &AuthError{Status: 401}
}

// So many NARs are taken at once, others wait. No client takes all places; records,
// uploads that are refused anyway and clients without permission need none.
func TestPlaces(t *testing.T) {
	var inside atomic.Int32
	leave := make(chan struct{})
	take := func(key layout.Key, from io.Reader) (inbox.Outcome, error) {
		if key.Kind() == layout.KindNAR {
			inside.Add(1)
			defer inside.Add(-1)
			<-leave
		}
		_, err := io.Copy(io.Discard, from)
		return inbox.Created, err
	}
	r := newRig(t, nil)
	refuse := func(key layout.Key) error {
		if key.Kind() == layout.KindNAR && strings.HasSuffix(string(key), ".xz") {
			return &inbox.Refusal{Reason: inbox.TooLarge, Msg: "too large"}
		}
		return nil
	}
	config := Config{Tree: r.tree, Auth: tokenOf{}, Log: quiet, MaxUploads: 4, UploadWait: time.Hour}
	h := newHandler(config, fakeInbox{Lister: r.tree, check: refuse, take: take})
	r.Server = newServer(t, h)
	nar := "/upload/nar/" + strings.Repeat("0", 52) + ".nar"
	put := func(token, path string) reaction {
		return r.do(t, "PUT", path, strings.NewReader("x"), "X-Token: "+token)
	}
	done := make(chan reaction)
	send := func(token string) { go func() { done <- put(token, nar) }() }
	until := func(n int32) {
		t.Helper()
		for inside.Load() != n {
			time.Sleep(time.Millisecond)
		}
	}
	for range 3 {
		send("ci")
	}
	until(2) // half of the places
	send("colleague")
	until(3)
	if got := put("ci", "/upload/"+strings.Repeat("0", 32)+".narinfo"); got.Status != 201 {
		t.Errorf("a record waits for NARs: %d %s", got.Status, got.Body)
	}
	if got := put("ci", nar+".xz"); got.Status != 413 {
		t.Errorf("what is refused waits for its turn: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "PUT", nar, strings.NewReader("x")); got.Status != 401 {
		t.Errorf("a stranger waits: %d", got.Status)
	}
	close(leave)
	for range 4 {
		if got := <-done; got.Status != 201 {
			t.Errorf("status %d %s", got.Status, got.Body)
		}
	}
	// All places were given back.
	part, err := h.places.bulky.Take(t.Context(), 2)
	if err != nil {
		t.Error(err)
	}
	part.Release()
}

// A client that waited too long is told to come again, and a Nix that cannot send
// again to give up.
func TestNoPlace(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	take := func(_ layout.Key, from io.Reader) (inbox.Outcome, error) {
		inside <- true
		<-leave
		return inbox.Created, nil
	}
	r := newRig(t, nil)
	r.Server = newServer(t, newHandler(Config{Tree: r.tree, Auth: tokenOf{}, Metrics: r.recorded, Log: quiet, MaxUploads: 1, UploadWait: 1},
		fakeInbox{Lister: r.tree, take: take}))
	nar := "/upload/nar/" + strings.Repeat("0", 52) + ".nar"
	done := make(chan reaction)
	go func() { done <- r.do(t, "PUT", nar, strings.NewReader("x"), "X-Token: ci") }()
	<-inside
	for agent, want := range map[string]int{"User-Agent: curl/8.0.0": 429, newNix: 429, oldNix: 403} {
		got := r.do(t, "PUT", nar, strings.NewReader("x"), "X-Token: colleague", agent)
		if got.Status != want || got.Header.Get("Retry-After") != "10" || !strings.Contains(got.Body, "try again later") {
			t.Errorf("%s: %+v, want %d", agent, got, want)
		}
		if last := r.recorded.last(); last != "busy nar" {
			t.Errorf("%s: recorded as %q", agent, last)
		}
	}
	leave <- true
	if got := <-done; got.Status != 201 {
		t.Errorf("%+v", got)
	}
}

// skippable begins a frame of zstd that holds nothing, and is a gibibyte long.
const skippable = "\x50\x2a\x4d\x18\x00\x00\x00\x40"

// trickle sends a body as slowly as a server allows that has no other clients.
func trickle(t *testing.T, r *rig, who, path string, each int, every time.Duration) {
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		return
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n", path, who, 1<<30)
	io.WriteString(conn, skippable)
	go func() {
		for {
			if _, err := conn.Write(make([]byte, each)); err != nil {
				return
			}
			time.Sleep(every)
		}
	}()
}

// Bodies that trickle in from one client take no place of another, and those of many
// clients take places of others for a short time only.
func TestTrickledUploads(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string][]string{
		"one client":   {"mallory"},
		"many clients": {"m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := example(t)
			r := newSiege(t, func(c *Config, _ *inbox.Config) {
				c.MaxUploads, c.BodyStall, c.UploadWait = 8, 4*time.Second, 16*time.Second
			})
			for i := range 20 {
				who := "X-Who: " + slow[i%len(slow)]
				trickle(t, r, who, fmt.Sprintf("/upload/nar/%052d.nar.zst", i), 17<<10, 2500*time.Millisecond)
				trickle(t, r, who, fmt.Sprintf("/upload/log/%032d-x.drv", i), 17<<10, 2500*time.Millisecond)
			}
			for i := range 40 { // these oblige us to decode
				trickle(t, r, "X-Who: "+slow[i%len(slow)]+"\r\nContent-Encoding: "+[]string{"zstd", "br"}[i%2], fmt.Sprintf("/upload/%032d.ls", i), 17<<10, 2500*time.Millisecond)
			}
			for i := range 600 {
				trickle(t, r, "X-Who: "+slow[i%len(slow)], fmt.Sprintf("/upload/%032d.narinfo", i), 1<<10, 5*time.Second)
			}
			time.Sleep(100 * time.Millisecond)
			for _, key := range keysOf(t, dir) {
				if key.Kind() == layout.KindNarInfo {
					if got := r.put(t, dir, key, alice, "User-Agent: rclone/v1.60.1", "Content-Encoding: gzip"); got.Status != 400 {
						t.Errorf("PUT %s, which is not gzip: %d %s", key, got.Status, got.Body)
					}
				}
				if got := r.put(t, dir, key, alice, "User-Agent: rclone/v1.60.1"); got.Status != 201 && got.Status != 204 {
					t.Errorf("PUT %s: %d %s", key, got.Status, got.Body)
				}
			}
		})
	}
}

// Questions that trickle in take memory of others for a short time only.
func TestTrickledQuestions(t *testing.T) {
	t.Parallel()
	r := newSiege(t, func(c *Config, _ *inbox.Config) { c.BodyStall, c.UploadWait = 4*time.Second, 16*time.Second })
	lines := strings.Repeat(strings.Repeat("0", 32)+"\n", 530)
	for i := range 16 {
		conn, err := net.Dial("tcp", r.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST /upload/?missing HTTP/1.1\r\nHost: x\r\nX-Who: m%d\r\nContent-Length: %d\r\n\r\n", i%8, 18*len(lines))
		go func() {
			for range 18 {
				if _, err := io.WriteString(conn, lines); err != nil {
					return
				}
				time.Sleep(2500 * time.Millisecond)
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	if got := r.do(t, "PUT", "/upload/"+strings.Repeat("1", 32)+".narinfo", strings.NewReader("x"), alice, "Content-Encoding: gzip"); got.Status != 400 {
		t.Errorf("PUT of a narinfo that is not gzip: %d %s", got.Status, got.Body)
	}
}

package webdav

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The properties that a client asks for come back for each file: the answer is not much
// longer than that to a client that asks for all there are, for any names that it makes
// up.
func TestPropfindAmplification(t *testing.T) {
	r, _ := populated(t)
	plain := int64(len(r.do(t, "PROPFIND", "/", nil, "Depth: 1").Body))
	ask := func(space string, n, length int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `<D:propfind xmlns:D="DAV:" xmlns:Z="%s"><D:prop>`, space)
		for i := range n {
			fmt.Fprintf(&b, "<Z:p%d%s/>", i, strings.Repeat("x", length))
		}
		return b.String() + "</D:prop></D:propfind>"
	}
	taken := 0
	for _, space := range []string{"u:", strings.Repeat("u", 1000), strings.Repeat("u", 40_000), strings.Repeat("&quot;", 6_000)} {
		for _, n := range []int{1, 15, 60} {
			for _, length := range []int{1, 20, 1000, 20_000} {
				got := r.do(t, "PROPFIND", "/", strings.NewReader(ask(space, n, length)), "Depth: 1")
				switch {
				case got.Status == 400 && len(got.Body) < 300:
				case got.Status == 207 && int64(len(got.Body)) <= 4*plain:
					taken++
					if strings.Count(got.Body, space) > 1 && len(space) > 10 {
						t.Errorf("a namespace of %d bytes is there %d times", len(space), strings.Count(got.Body, space))
					}
				default:
					t.Errorf("%d properties of %d bytes in a namespace of %d: %d, %d bytes where %d are plain", n, length, len(space), got.Status, len(got.Body), plain)
				}
			}
		}
	}
	if taken < 3 {
		t.Errorf("%d of the requests were answered", taken)
	}
}

func TestProppatchAmplification(t *testing.T) {
	r := newSiege(t, nil)
	for _, space := range []string{"u:", strings.Repeat("u", 1000), strings.Repeat("u", 30_000)} {
		for _, n := range []int{1, 10, 1000} {
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprint("p", i)
			}
			body := proppatch(space, names...)
			got := r.do(t, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(body), mallory)
			if got.Status != 400 && got.Status != 207 || len(got.Body) > 2*len(body)+500 || n == 10 && len(space) < 10 && got.Status != 207 {
				t.Errorf("%d properties in a namespace of %d bytes: %d, %d bytes for %d", n, len(space), got.Status, len(got.Body), len(body))
			}
		}
	}
}

// A large lists a folder of many files.
type large struct {
	*treetest.Mem
	entries int
}

func (l large) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	if prefix != "nar/" {
		return l.Mem.List(ctx, prefix)
	}
	return func(yield func(layout.Info, error) bool) {
		for i := range l.entries {
			if !yield(layout.Info{Key: layout.Key(fmt.Sprintf("nar/%052d.nar.xz", i)), Size: int64(i)}, ctx.Err()) {
				return
			}
		}
	}
}

// slowReader asks for a listing that is larger than what the system buffers, and
// takes nothing of it.
func slowReader(t *testing.T, s *rig, who, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PROPFIND %s HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n%s\r\n\r\n", path, who)
	return conn
}

// Those who list and do not read keep others from listing neither where they are
// one client, nor for long where they are many.
func TestSlowListings(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string][]string{
		"one client":   {"mallory"},
		"many clients": {"m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSiege(t, func(c *Config, _ *inbox.Config) {
				c.Tree = large{treetest.NewMem(t), 300_000}
				c.BodyStall = 30 * time.Second
			})
			for i := range 2 * maxListing {
				conn := slowReader(t, r, "X-Who: "+slow[i%len(slow)], "/nar/")
				if i < maxListing/2 { // so many any client may have
					if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, path := range []string{"/log/", "/"} {
				if got := r.do(t, "PROPFIND", path, nil, alice, "Depth: 1"); got.Status != 207 {
					t.Errorf("PROPFIND %s: %d %s", path, got.Status, got.Body)
				}
			}
		})
	}
}

// The values that a PROPPATCH sets are not kept, in any form: elements in them, each in
// a long namespace, take no more memory than the body has, some times.
func TestProppatchValues(t *testing.T) {
	r := newSiege(t, nil)
	long := strings.Repeat("u", 30_000)
	for name, value := range map[string]string{
		"side by side": strings.Repeat("<Z:a/>", 4000),
		"nested":       strings.Repeat("<Z:a>", 10) + strings.Repeat("<Z:b/>", 4000) + strings.Repeat("</Z:a>", 10),
	} {
		body := `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="` + long + `"><D:set><D:prop><D:x>` + value + `</D:x></D:prop></D:set></D:propertyupdate>`
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := r.do(t, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(body), mallory)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 || got.Status != 207 && got.Status != 400 {
			t.Errorf("%s: %d, and %d MiB of memory for a body of %d KiB", name, got.Status, n>>20, len(body)>>10)
		}
	}
}

// Bodies that do not come to their end are bounded for each client, whatever the method:
// those beyond its share are refused, and others find room.
func TestBodiesAreShared(t *testing.T) {
	t.Parallel()
	const many = maxAside/2 + 20
	for _, request := range []string{"PROPFIND /nar/", "PROPPATCH /upload/nix-cache-info", "LOCK /upload/._x", "PUT /upload/._x"} {
		t.Run(strings.ReplaceAll(request, "/", "|"), func(t *testing.T) {
			t.Parallel()
			// A third of that is how long a body waits for a place. All must have begun to wait
			// before the first is given up for its slowness, on a busy machine too.
			r := newSiege(t, func(c *Config, _ *inbox.Config) { c.BodyStall = 9 * time.Second })
			busy := make(chan string, many)
			for range many {
				conn, err := net.Dial("tcp", r.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				go func() {
					fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\nDepth: 0\r\nContent-Length: 60000\r\n\r\n%s", request, mallory, strings.Repeat("x", 40_000))
					answer := make([]byte, 12)
					io.ReadFull(conn, answer)
					busy <- string(answer)
				}()
			}
			for range 20 {
				if got := <-busy; got != "HTTP/1.1 503" {
					t.Fatalf("the first answer is %q", got)
				}
			}
			if got := r.do(t, "PROPFIND", "/nix-cache-info", strings.NewReader(`<propfind xmlns="DAV:"><allprop/></propfind>`), alice, "Depth: 0"); got.Status != 207 {
				t.Errorf("another client: %d %s", got.Status, got.Body)
			}
		})
	}
}

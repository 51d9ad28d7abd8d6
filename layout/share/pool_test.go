package share

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func as(t *testing.T, c Client) context.Context { return As(t.Context(), c) }

// take takes parts of one until the client would have to wait.
func take(t *testing.T, p *Pool, c Client) (parts []*Part) {
	t.Helper()
	for p.free(c, 1) {
		part, err := p.Take(as(t, c), 1)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	return parts
}

// A client may hold as much as it leaves, so that the next one has room.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(32, time.Minute)
		got := map[Client]int{}
		var parts [][]*Part
		for _, c := range []Client{"a", "b", "c", "d", "e", "f", "g"} {
			parts = append(parts, take(t, p, c))
			got[c] = len(parts[len(parts)-1])
		}
		want := map[Client]int{"a": 16, "b": 8, "c": 4, "d": 2, "e": 1, "f": 1, "g": 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("shares (-want +got):\n%s", diff)
		}
		for _, all := range parts {
			for _, part := range all {
				part.Release()
				part.Release()
			}
		}
		if p.used != 0 || len(p.held) != 0 || len(p.waiting) != 0 {
			t.Errorf("after all were given back %d are in use, by %v; %d wait", p.used, p.held, len(p.waiting))
		}
	})
}

// A part that becomes free goes to the client that holds least, and among the
// requests of one to the first; a large wish does not hold up small ones.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(8, time.Hour)
		first := take(t, p, "a")
		take(t, p, "b")
		take(t, p, "c")
		take(t, p, "d")
		var order []string
		wait := func(name string, c Client, n int64) {
			synctest.Wait()
			go func() {
				if _, err := p.Take(as(t, c), n); err == nil {
					order = append(order, name)
				}
			}()
			synctest.Wait()
		}
		wait("a again", "a", 1)
		wait("large", "e", 3)
		wait("f", "f", 1)
		wait("f again", "f", 1)
		for _, part := range first[:3] {
			part.Release()
			synctest.Wait()
		}
		if diff := cmp.Diff([]string{"f", "a again"}, order); diff != "" {
			t.Errorf("turns (-want +got):\n%s", diff)
		}
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(4, time.Minute)
		held := take(t, p, "a")
		start := time.Now()
		if _, err := p.Take(as(t, "a"), 1); !errors.Is(err, ErrBusy) || time.Since(start) != time.Minute {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		// A request for more than there can be does not wait.
		start = time.Now()
		if _, err := p.Take(as(t, "b"), 3); !errors.Is(err, ErrBusy) || time.Since(start) != 0 {
			t.Errorf("more than any client may have, after %s: %v", time.Since(start), err)
		}
		if err := held[0].Resize(as(t, "a"), 3); !errors.Is(err, ErrBusy) || held[0].size != 1 {
			t.Errorf("a part that cannot grow has %d, %v", held[0].size, err)
		}
		// A request that ends makes room in the queue.
		ctx, cancel := context.WithCancelCause(as(t, "a"))
		left := errors.New("left")
		go func() { time.Sleep(time.Second); cancel(left) }()
		if _, err := p.Take(ctx, 1); !errors.Is(err, left) || len(p.waiting) != 0 {
			t.Errorf("who left got %v; %d wait", err, len(p.waiting))
		}
		if _, err := NewPool(1, 0).Take(ctx, 1); err != nil {
			t.Errorf("the only place of a pool: %v", err)
		}
		var none *Pool
		part, err := none.Take(ctx, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		part.Release()
	})
}

// A client cannot fill the queue with its own requests.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2, time.Minute)
		take(t, p, "a")
		take(t, p, "b")
		busy := 0
		for range maxWaiting + 10 {
			go func() {
				start := time.Now()
				if _, err := p.Take(as(t, "a"), 1); errors.Is(err, ErrBusy) && time.Since(start) == 0 {
					busy++
				}
			}()
			synctest.Wait()
		}
		if busy != 10 {
			t.Errorf("%d of %d were sent away at once", busy, maxWaiting+10)
		}
	})
}

// Clients that wait hurry those that hold much more, and no others.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(8, time.Minute)
		hurried := map[Client]time.Duration{}
		held := map[Client][]*Part{}
		for _, c := range []Client{"a", "b", "c"} {
			for p.free(c, 1) {
				part, err := p.Take(Hurried(as(t, c), func(waited time.Duration) { hurried[c] = waited }), 1)
				if err != nil {
					t.Fatal(err)
				}
				held[c] = append(held[c], part)
			}
		}
		go func() {
			time.Sleep(10 * time.Second)
			held["b"][0].Release()
		}()
		part, err := p.Take(as(t, "c"), 1) // c has one, b two, a four
		if err != nil {
			t.Fatal(err)
		}
		part.Release()
		if hurried["a"] < 9*time.Second || len(hurried) != 1 {
			t.Errorf("hurried: %v", hurried)
		}
		for _, parts := range held {
			for _, part := range parts {
				part.Release()
			}
		}
		if len(p.parts) != 0 {
			t.Errorf("%d parts are remembered that were given back", len(p.parts))
		}
	})
}

func TestClients(t *testing.T) {
	got := map[string]Client{}
	for _, remote := range []string{"192.0.2.7:1", "192.0.2.8:1", "[::ffff:192.0.2.7]:9", "[2001:db8::1:2:3:4]:5", "[2001:db8::ffff]:5", "[2001:db8:0:1::]:5", "[fe80::1%eth0]:5", "@", ""} {
		got[remote] = ClientOf("", remote)
	}
	got["with a token"] = ClientOf("ci", "192.0.2.7:1")
	want := map[string]Client{
		"192.0.2.7:1": "192.0.2.7", "192.0.2.8:1": "192.0.2.8", "[::ffff:192.0.2.7]:9": "192.0.2.7",
		"[2001:db8::1:2:3:4]:5": "2001:db8::", "[2001:db8::ffff]:5": "2001:db8::", "[2001:db8:0:1::]:5": "2001:db8:0:1::",
		"[fe80::1%eth0]:5": "fe80::", "@": "local", "": "local", "with a token": "token ci",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
	if c := From(As(t.Context(), "x")); c != "x" {
		t.Errorf("the client of a context is %q", c)
	}
	if c := From(t.Context()); c != "" {
		t.Errorf("without one it is %q", c)
	}
}

// A client that went gives up its turn, and what it might have had goes to others.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2, time.Hour)
		take(t, p, "a")
		other, err := p.Take(as(t, "b"), 1)
		if err != nil {
			t.Fatal(err)
		}
		gone, start := false, time.Now()
		failed := make(chan error, 1)
		go func() {
			ctx, done := UntilGone(Watched(as(t, "c"), func() bool { return gone }))
			defer done()
			_, err := p.Take(ctx, 1)
			failed <- err
		}()
		synctest.Wait()
		gone = true
		if err := <-failed; !errors.Is(err, context.Canceled) || time.Since(start) > goneEvery {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		other.Release()
		if p.used != 1 || len(p.waiting) != 0 {
			t.Errorf("%d are in use, %d wait", p.used, len(p.waiting))
		}
	})
}

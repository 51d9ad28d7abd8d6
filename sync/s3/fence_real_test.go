//go:build real

package s3

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// TestProveFence: the real store refuses what was signed 20 minutes ago, and keeps to
// conditions.
func TestProveFence(t *testing.T) {
	b := create(t, location(t, server.Endpoint))
	proof, err := b.ProveFence(t.Context())
	if want := (layout.FenceProof{Conditions: true, Late: lateUsually}); err != nil || proof != want {
		t.Errorf("%+v, %v; want %+v", proof, err, want)
	}
	for age, want := range map[time.Duration]bool{0: true, 10 * time.Minute: true, stale: false} {
		if taken, err := b.headDated(t.Context(), time.Now().Add(-age)); err != nil || taken != want {
			t.Errorf("signed %v ago: taken %v, %v", age, taken, err)
		}
	}
}

// TestLate: nothing is sent that was signed too late, and a sweeper is told of a
// removal that got an answer at the second attempt alone.
func TestLate(t *testing.T) {
	m := between(t, server.Endpoint)
	b := create(t, location(t, m.URL))
	key := layout.Key("index.html")
	put(t, b, key, nil, layout.PutOptions{})
	late := layout.SignBy(t.Context(), time.Now().Add(-time.Second))
	m.counted()
	for what, err := range map[string]error{
		"put":          b.Put(late, key, layout.Bytes([]byte("x")), layout.PutOptions{}),
		"delete":       b.Delete(late, key),
		"delete batch": b.DeleteBatch(late, []layout.Key{key, "robots.txt"}),
	} {
		if !errors.Is(err, layout.ErrLate) || errors.Is(err, layout.ErrUnanswered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := m.counted(); len(got) > 0 {
		t.Errorf("it was asked for %q", got)
	}
	timed := layout.SignBy(t.Context(), time.Now().Add(time.Hour))
	for _, many := range [][]layout.Key{{key}, {key, "robots.txt"}} {
		for _, c := range []struct {
			what   harm
			silent bool
		}{{dropBefore, true}, {dropAfter, true}, {internal, true}, {slowDown, false}, {none, false}} {
			m.counted()
			m.plan(onlyFirst(c.what))
			err := b.DeleteBatch(timed, many)
			if errors.Is(err, layout.ErrUnanswered) != c.silent || !c.silent && err != nil {
				t.Errorf("%d keys, harm %d: %v", len(many), c.what, err)
			}
			m.plan(onlyFirst(c.what))
			if err := b.DeleteBatch(t.Context(), many); err != nil {
				t.Errorf("%d keys, harm %d: who does not sweep is told %v", len(many), c.what, err)
			}
		}
	}
}

// onlyFirst does harm to the first request.
func onlyFirst(what harm) func(int, *http.Request) harm {
	return func(n int, _ *http.Request) harm {
		if n == 1 {
			return what
		}
		return none
	}
}

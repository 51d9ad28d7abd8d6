//go:build real

package prune_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// TestStoreKilled: the store is killed in the middle of a sweep, and started again. The tree
// is whole then, and a later run ends the work.
func TestStoreKilled(t *testing.T) {
	server := start(t)
	count := 0
	for part := range 5 { // the first run counts
		b, name := populate(t, server)
		collect(t, b, oneByOne(), 1)
		m := between(t, server.Endpoint)
		m.passes = part%2 == 0
		if part > 0 {
			m.cutAt = count * part / 5
			m.kill = server.Kill
		}
		_, err := gc.Collect(t.Context(), open(t, name, m.URL), oneByOne(), nil)
		if part == 0 {
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range m.requests() {
				count += n
			}
			continue
		}
		if err == nil {
			t.Errorf("a run whose store is killed at request %d of %d succeeds", m.cutAt, count)
		}
		server.Kill()
		server.Restart(t)
		check(t, b)
		if err := b.Delete(t.Context(), layout.RunLeaseKey); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settled)
		for n := 0; n < 3 && len(names(t, b)) > 2; n++ {
			collect(t, b, oneByOne(), 1)
		}
		check(t, b)
		if there := names(t, b); len(there) != 2 || !there["lib"] {
			t.Errorf("killed at request %d of %d; in the end there are %v", m.cutAt, count, there)
		}
	}
}

// TestTwoAtOnce: of two runs at once one is told that the other is at work, and changes
// nothing.
func TestTwoAtOnce(t *testing.T) {
	server := start(t)
	b, name := populate(t, server)
	collect(t, b, options(), 1)
	var second error
	_, err := gc.Collect(t.Context(), b, options(), func(*gc.Plan) error {
		_, second = gc.Collect(t.Context(), open(t, name, server.Endpoint), options(), nil)
		return nil
	})
	if err != nil {
		t.Errorf("the first: %v", err)
	}
	if held := (*lock.HeldError)(nil); !errors.As(second, &held) {
		t.Errorf("the second: %v", second)
	}
	check(t, b)
	if there := names(t, b); len(there) != 2 || !there["lib"] {
		t.Errorf("in the end there are %v", there)
	}
}

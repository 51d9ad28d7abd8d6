package share

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Second)
		a, other := As(t.Context(), "a"), As(t.Context(), "b")
		for range 10 {
			if over, err := b.Take(a, 10, 0); err != nil {
				t.Fatal(over, err)
			}
		}
		if over, err := b.Take(a, 5, 4*time.Second); !errors.Is(err, ErrBusy) || over != 5*time.Second {
			t.Errorf("beyond: %s, %v", over, err)
		}
		if over, err := b.Take(other, 100, 0); err != nil {
			t.Errorf("another client: %s, %v", over, err)
		}
		begin := time.Now()
		if _, err := b.Take(a, 5, 5*time.Second); err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("with patience: after %s, %v", time.Since(begin), err)
		}
		if over := b.Charge("a", 1000); over != 1000*time.Second {
			t.Errorf("it owes %s", over)
		}
		time.Sleep(1100 * time.Second)
		if over, err := b.Take(a, 100, 0); err != nil {
			t.Errorf("much later: %s, %v", over, err)
		}
		if over, err := (*Budget)(nil).Take(a, 1<<30, 0); over != 0 || err != nil {
			t.Errorf("without a bound: %s, %v", over, err)
		}
	})
}

func TestBudgetsAreBounded(t *testing.T) {
	b := NewBudget(100, time.Second)
	for i := range 3 * maxBudgets {
		b.Charge(Client(strconv.Itoa(i)), 1)
	}
	if len(b.full) > maxBudgets {
		t.Errorf("%d clients are remembered", len(b.full))
	}
}

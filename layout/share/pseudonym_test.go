package share

import (
	"errors"
	"testing"
	"time"
)

// A client has one share, whether it is known by its own name or by its pseudonym.
func TestPseudonym(t *testing.T) {
	for _, c := range []Client{ClientOf("ci", ""), ClientOf("", "192.0.2.7:1"), ClientOf("", "[2001:db8::1]:1"), ClientOf("", ""), "0123456789abcdef", ""} {
		short := c.Pseudonym()
		if short != short.Pseudonym() || len(short) != 16 && c != "" {
			t.Errorf("%q is called %q, and that %q", c, short, short.Pseudonym())
		}
		p := NewPool(4, 0)
		for _, name := range []Client{c, short} {
			if _, err := p.Take(as(t, name), 1); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := p.Take(as(t, short), 1); !errors.Is(err, ErrBusy) {
			t.Errorf("%q has more than half by its two names: %v", c, err)
		}
		p = NewPool(4, 0)
		for range 2 {
			if _, err := p.Try(as(t, c), 1); err != nil {
				t.Errorf("%q: %v", c, err)
			}
		}
		if _, err := p.Try(as(t, c), 1); !errors.Is(err, ErrBusy) {
			t.Errorf("%q has more than half without waiting: %v", c, err)
		}
		b := NewBudget(2, time.Hour)
		b.Charge(c, 1)
		if over := b.Charge(short, 2); over <= 0 {
			t.Errorf("%q has two budgets", c)
		}
	}
}

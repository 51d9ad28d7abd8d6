package recent

import "testing"

// A value that is in use stays, others leave, and the limit holds.
func TestTable(t *testing.T) {
	c := Table[int, string]{Limit: 1 << 20}
	c.Put(-1, "used", 1000)
	for i := range 10_000 {
		c.Put(i, "value", 1000)
		if v, ok := c.Get(-1); !ok || v != "used" {
			t.Fatalf("after %d others, the value in use is %q, %v", i, v, ok)
		}
		if v, ok := c.Get(i); !ok || v != "value" {
			t.Fatalf("the latest value is %q, %v", v, ok)
		}
	}
	sum, all := int64(0), map[int]bool{}
	for _, generation := range []map[int]item[int, string]{c.young, c.old} {
		for key, i := range generation {
			sum += i.cost
			if all[key] {
				t.Errorf("%d is there twice", key)
			}
			all[key] = true
		}
	}
	if sum > c.Limit || sum < c.Limit/3 {
		t.Errorf("%d bytes are remembered, with a limit of %d", sum, c.Limit)
	}
}

// A value takes the place of an earlier one, even if it is too large itself.
func TestTableReplaces(t *testing.T) {
	c := Table[string, int]{Limit: 10_000}
	for i := range 100 {
		c.Put("a", i, 1000)
	}
	if v, ok := c.Get("a"); v != 99 || !ok || c.cost != 1000+itemCost {
		t.Errorf("%d, %v, cost %d", v, ok, c.cost)
	}
	c.Put("a", 100, 5000)
	if v, ok := c.Get("a"); ok || c.cost != 0 {
		t.Errorf("a value of more than half the limit is remembered: %d, cost %d", v, c.cost)
	}
}

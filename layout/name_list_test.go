package layout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestNameList: names come back in their order, each once, however long and strange.
func TestNameList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "a/", "nar/", "nar-x", "nar", "n", "\xff\xfe", "\xff", strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("ä", 200) + "/"}
	for i := range 5000 {
		names = append(names, fmt.Sprintf("%x", r.Uint32N(1<<20)), fmt.Sprint(i))
	}
	var l nameList
	for _, i := range r.Perm(len(names)) {
		l.add(names[i])
	}
	want := slices.Compact(slices.Sorted(slices.Values(names)))
	if got := slices.Collect(l.take()); !slices.Equal(got, want) {
		t.Errorf("%d names come back as %d, or in another order", len(want), len(got))
	}
	if got := slices.Collect(l.take()); len(got) > 0 {
		t.Errorf("%d names are still there", len(got))
	}
	l.add("b")
	l.add("a")
	for name := range l.take() { // stops early
		if name != "a" {
			t.Errorf("the first is %s", name)
		}
		break
	}
}

package refgraph

import (
	"fmt"
	"slices"
	"testing"
)

func TestGraph(t *testing.T) {
	for _, c := range []struct {
		name string
		refs map[int32][]int32
		out  []int32 // left out from the start
		want string
	}{
		{"nothing", nil, nil, "[] left out []"},
		{"a chain", map[int32][]int32{2: {1}, 1: {0}}, nil, "[[0] [1] [2]] left out []"},
		{"a diamond", map[int32][]int32{3: {1, 2}, 1: {0}, 2: {0}}, nil, "[[0] [1 2] [3]] left out []"},
		{"a circle, and one that leans on it", map[int32][]int32{0: {1}, 1: {2}, 2: {0}, 3: {1}, 4: {}}, nil, "[[4]] left out [2 1 0 3]"},
		{"one is missing", map[int32][]int32{2: {1}, 1: {0}, 3: {}}, []int32{0}, "[[3]] left out [1 2]"},
	} {
		n := 0
		for i, refs := range c.refs {
			n = max(n, int(i)+1)
			for _, ref := range refs {
				n = max(n, int(ref)+1)
			}
		}
		g := NewGraph(n, t.TempDir())
		defer g.Close()
		for i := range int32(n) {
			state := Ready
			if slices.Contains(c.out, i) {
				state = Out
			}
			g.Add(state, c.refs[i], nil)
		}
		if err := g.Seal(); err != nil {
			t.Fatal(err)
		}
		left := []int32{}
		levels, err := g.Arrange(func(node, _ int32) { left = append(left, node) })
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%v left out %v", levels, left); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// A chain of references may be long.
	const long = 300_000
	g := NewGraph(long, t.TempDir())
	defer g.Close()
	for i := range int32(long) {
		refs := []int32{i + 1}
		if i == long-1 {
			refs = nil
		}
		g.Add(Ready, refs, fmt.Append(nil, i))
	}
	if err := g.Seal(); err != nil {
		t.Fatal(err)
	}
	if g.kept.file == nil {
		t.Error("all of it is in memory")
	}
	if levels, err := g.Arrange(nil); err != nil || len(levels) != long || levels[0][0] != long-1 {
		t.Errorf("%d levels, %v", len(levels), err)
	}
	if refs, text, err := g.Recall(12345); err != nil || !slices.Equal(refs, []int32{12346}) || string(text) != "12345" {
		t.Errorf("recalled %d, %q, %v", refs, text, err)
	}
}

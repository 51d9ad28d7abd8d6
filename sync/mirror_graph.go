package sync

import (
	"slices"
	"sync/atomic"
)

// A graph orders narinfos by what refers to what. Nodes are numbers; it takes
// four bytes for a reference, and thirty for a node.
type graph struct {
	refs  [][]int32       // of each node, to other nodes
	state []atomic.Uint32 // a nodeState
	level []int32         // one more than the highest of refs
}

type nodeState = uint32

const (
	nodeUnknown nodeState = iota
	nodeReady             // may be published once all of refs are
	nodePublished
	nodeOut  // left out
	nodeGone // left out because the source has it no more
)

func newGraph(n int) graph {
	return graph{make([][]int32, n), make([]atomic.Uint32, n), make([]int32, n)}
}

// Marks of the walk, in the place of levels.
const (
	levelNone  int32 = -1
	levelAbove int32 = -2 // the walk came through here
)

// arrange finds the levels of all ready nodes and returns the nodes by level,
// lowest first. Nodes that lean on one that is left out, or on themselves in a
// circle, are left out too; out is told of each with the node at fault. The
// walk keeps its own stack: chains of references may be long.
func (g *graph) arrange(out func(node, because int32)) [][]int32 {
	for i := range g.level {
		g.level[i] = levelNone
	}
	type frame struct {
		node  int32
		next  int
		level int32
		fault int32
	}
	var stack []frame
	highest := int32(-1)
	for root := range g.refs {
		if g.level[root] == levelNone && g.state[root].Load() == nodeReady {
			g.level[root] = levelAbove
			stack = append(stack, frame{int32(root), 0, 0, -1})
		}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.next < len(g.refs[top.node]) {
				ref := g.refs[top.node][top.next]
				switch {
				case g.state[ref].Load() != nodeReady || g.level[ref] == levelAbove:
					top.fault = ref
					top.next++
				case g.level[ref] == levelNone:
					g.level[ref] = levelAbove
					stack = append(stack, frame{ref, 0, 0, -1}) // and look at ref again
				default:
					top.level = max(top.level, g.level[ref]+1)
					top.next++
				}
				continue
			}
			if top.fault >= 0 {
				g.state[top.node].Store(nodeOut)
				out(top.node, top.fault)
			} else {
				g.level[top.node] = top.level
				highest = max(highest, top.level)
			}
			stack = stack[:len(stack)-1]
		}
	}
	return g.byLevel(highest)
}

// byLevel returns the ready nodes of each level.
func (g *graph) byLevel(highest int32) [][]int32 {
	counts := make([]int, highest+1)
	total := 0
	for i, level := range g.level {
		if g.state[i].Load() == nodeReady {
			counts[level]++
			total++
		}
	}
	all := make([]int32, 0, total)
	levels := make([][]int32, len(counts))
	for i, n := range counts {
		end := len(all) + n
		levels[i] = all[len(all):len(all):end]
		all = all[:end]
	}
	for i, level := range g.level {
		if g.state[i].Load() == nodeReady {
			levels[level] = append(levels[level], int32(i))
		}
	}
	return levels
}

// leansOn returns a reference of node that is not published, or -1.
func (g *graph) leansOn(node int32) int32 {
	i := slices.IndexFunc(g.refs[node], func(ref int32) bool { return g.state[ref].Load() != nodePublished })
	if i < 0 {
		return -1
	}
	return g.refs[node][i]
}

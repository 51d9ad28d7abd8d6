package gc

import (
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// Without takes steps out of the protocol.
var Without = &without

// ClosuresOf finds the closures of roots in a graph: of each path, given as the paths that
// it refers to, which roots lead to it. The last paths have no narinfo.
func ClosuresOf(references [][]int32, ghosts int, roots [][]int32) []uint64 {
	v := &view{paths: make([]pathEntry, len(references)), ghosts: make([]refgraph.PathID, ghosts)}
	for _, refs := range references {
		at, room := v.refs.add(len(refs))
		copy(room, refs)
		v.from = append(v.from, at)
	}
	c := v.newClosures()
	c.find(roots)
	return c.of
}

package refgraph

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// A graph orders narinfos by what refers to what. Nodes are numbers, in the
// order in which they are added. In memory a node takes eight bytes, and those
// on the way from a node down to its lowest reference eight more; who refers to
// whom is in a scratch.
type Graph struct {
	state []atomic.Uint32 // a State, and above it the level
	nodes *Shelf          // where kept has what a node refers to
	kept  scratch
	added int
}

// A State says what is known of a node. A new node has 0: nothing is known.
type State = uint32

const (
	Ready     State = iota + 1 // may be published once all that it refers to is
	above                      // likewise; the walk came through here
	placed                     // likewise; its level is known
	Published                  //
	Out                        // left out
	Gone                       // left out because the source has it no more
	Stays                      // of what is removed: to refer to it counts for nothing

	stateBits = 3
	stateMask = 1<<stateBits - 1

	nodeRecord = 8 + 4 + 4 // place, number of references, bytes of text
)

func NewGraph(n int, dir string) *Graph {
	return &Graph{state: make([]atomic.Uint32, n), nodes: NewShelf(dir, nodeRecord, 0), kept: scratch{dir: dir}}
}

// Add adds the next node, with a text to be had back.
func (g *Graph) Add(state State, refs []int32, text []byte) {
	var record [nodeRecord]byte
	binary.LittleEndian.PutUint64(record[:], uint64(g.kept.size))
	binary.LittleEndian.PutUint32(record[8:], uint32(len(refs)))
	binary.LittleEndian.PutUint32(record[12:], uint32(len(text)))
	g.nodes.Add(record[:])
	var number [4]byte
	for _, ref := range refs {
		binary.LittleEndian.PutUint32(number[:], uint32(ref))
		g.kept.append(number[:])
	}
	if len(text) > 0 {
		g.kept.append(text)
	}
	g.state[g.added].Store(state)
	g.added++
}

// Seal ends the adding.
func (g *Graph) Seal() error { return errors.Join(g.nodes.Seal(), g.kept.Seal()) }

func (g *Graph) Close() {
	if g != nil {
		g.nodes.Close()
		g.kept.Close()
	}
}

func (g *Graph) SetState(node int32, state State) { g.state[node].Store(state) }

// KeptBytes is how much references and texts take in a temporary file.
func (g *Graph) KeptBytes() int64 { return g.kept.size }

func (g *Graph) StateOf(node int32) State { return g.state[node].Load() & stateMask }

// Refs returns what a node refers to, in room if that suffices.
func (g *Graph) Refs(node int32, room []int32) ([]int32, error) {
	raw, count, err := g.read(node, false)
	return appendRefs(room[:0], raw[:4*count]), err
}

// Recall returns what a node refers to and its text, nil if it has none.
func (g *Graph) Recall(node int32) (refs []int32, text []byte, err error) {
	raw, count, err := g.read(node, true)
	if len(raw) > 4*count {
		text = raw[4*count:]
	}
	return appendRefs(nil, raw[:4*count]), text, err
}

// read reads what was kept of a node: count references, and its text.
func (g *Graph) read(node int32, withText bool) (raw []byte, count int, err error) {
	var record [nodeRecord]byte
	if err := g.nodes.At(int(node), record[:]); err != nil {
		return nil, 0, err
	}
	count = int(binary.LittleEndian.Uint32(record[8:]))
	size := 4 * count
	if withText {
		size += int(binary.LittleEndian.Uint32(record[12:]))
	}
	raw = make([]byte, size)
	return raw, count, g.kept.read(raw, int64(binary.LittleEndian.Uint64(record[:])))
}

func appendRefs(refs []int32, raw []byte) []int32 {
	for ; len(raw) > 0; raw = raw[4:] {
		refs = append(refs, int32(binary.LittleEndian.Uint32(raw)))
	}
	return refs
}

// Arrange finds the levels of all ready nodes, each one above the highest that
// it refers to, and returns the nodes by level, lowest first. Nodes that lean on
// one that is left out, or on themselves in a circle, are left out too; out is
// told of each with the node at fault. The walk keeps its own stack: chains of
// references may be long.
func (g *Graph) Arrange(out func(node, because int32)) ([][]int32, error) {
	type frame struct{ node, next int32 }
	var stack []frame
	var refs []int32
	highest := int32(-1)
	enter := func(node int32) {
		g.state[node].Store(above)
		stack = append(stack, frame{node, 0})
	}
	for root := range int32(len(g.state)) {
		if g.StateOf(root) == Ready {
			enter(root)
		}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			var err error
			if refs, err = g.Refs(top.node, refs); err != nil {
				return nil, err
			}
			fault, below := int32(-1), int32(-1)
			level := int32(g.state[top.node].Load() >> stateBits)
			for fault < 0 && below < 0 && int(top.next) < len(refs) {
				ref := refs[top.next]
				switch word := g.state[ref].Load(); word & stateMask {
				case Ready:
					below = ref // and look at it again
					continue
				case placed:
					level = max(level, int32(word>>stateBits)+1)
				case Stays:
				default:
					fault = ref
				}
				top.next++
			}
			switch {
			case fault >= 0:
				g.state[top.node].Store(Out)
				out(top.node, fault)
				stack = stack[:len(stack)-1]
			case below >= 0:
				g.state[top.node].Store(above | uint32(level)<<stateBits)
				enter(below)
			default:
				g.state[top.node].Store(placed | uint32(level)<<stateBits)
				highest = max(highest, level)
				stack = stack[:len(stack)-1]
			}
		}
	}
	return g.byLevel(highest), nil
}

// byLevel returns the placed nodes of each level.
func (g *Graph) byLevel(highest int32) [][]int32 {
	counts := make([]int, highest+1)
	total := 0
	for i := range g.state {
		if word := g.state[i].Load(); word&stateMask == placed {
			counts[word>>stateBits]++
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
	for i := range g.state {
		if word := g.state[i].Load(); word&stateMask == placed {
			level := word >> stateBits
			levels[level] = append(levels[level], int32(i))
		}
	}
	return levels
}

// leansOn returns one of refs that is not published, or -1.
func (g *Graph) Unpublished(refs []int32) int32 {
	for _, ref := range refs {
		if g.StateOf(ref) != Published {
			return ref
		}
	}
	return -1
}

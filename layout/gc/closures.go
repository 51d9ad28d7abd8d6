package gc

// together is how many closures are found at once: one bit of a word for each.
const together = 64

// closures are those of some roots, as a word for each path: its bits are the roots
// that lead to the path. All roots of a word go through the tree once. A walk from each
// of them would see again and again what they share.
type closures struct {
	v     *view
	of    []uint64
	order []int32 // paths, none before one that refers to it
	// tangled paths have no place in the order: those on a cycle of references, which
	// only a forged record can close, and those that such a path leads to.
	tangled []int32
}

func (v *view) newClosures() *closures {
	n := len(v.paths) + len(v.ghosts)
	c := &closures{v: v, of: make([]uint64, n), order: make([]int32, 0, n)}
	waits := make([]int32, n) // of each path: how many that refer to it are not in the order yet
	for i := range int32(n) {
		for _, ref := range v.references(i) {
			waits[ref]++
		}
	}
	for i := range int32(n) {
		if waits[i] == 0 {
			c.order = append(c.order, i)
		}
	}
	for next := 0; next < len(c.order); next++ {
		for _, ref := range v.references(c.order[next]) {
			if waits[ref]--; waits[ref] == 0 {
				c.order = append(c.order, ref)
			}
		}
	}
	for i := range int32(n) {
		if waits[i] > 0 {
			c.tangled = append(c.tangled, i)
		}
	}
	return c
}

// find finds the closures of some roots, of each in its bit.
func (c *closures) find(roots [][]int32) {
	clear(c.of)
	for n, paths := range roots {
		for _, i := range paths {
			c.of[i] |= 1 << n
		}
	}
	for _, i := range c.order {
		if c.of[i] != 0 {
			for _, ref := range c.v.references(i) {
				c.of[ref] |= c.of[i]
			}
		}
	}
	// Each look at a tangled path is for a bit more, so that there are few of them.
	var stack []int32
	for _, i := range c.tangled {
		if c.of[i] != 0 {
			stack = append(stack, i)
		}
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, ref := range c.v.references(i) {
			if more := c.of[ref] | c.of[i]; more != c.of[ref] {
				c.of[ref] = more
				stack = append(stack, ref)
			}
		}
	}
}

package gc

// lists holds many short lists of numbers, such as the references of a million paths,
// which do not move while others are added: a slice that grows is there twice.
type lists struct {
	blocks [][]int32
	total  int
}

// A list is found by the number of its block and, in the lower bits, its place there.
const (
	blockBits = 16
	blockSize = 1 << blockBits
)

// add makes room for a list of n numbers. The list at 0 is empty.
func (l *lists) add(n int) (at uint32, room []int32) {
	if len(l.blocks) == 0 {
		l.blocks = append(l.blocks, make([]int32, 1, blockSize))
	}
	l.total += n
	last := &l.blocks[len(l.blocks)-1]
	if len(*last)+1+n > cap(*last) {
		l.blocks = append(l.blocks, make([]int32, 0, max(blockSize, n+1)))
		last = &l.blocks[len(l.blocks)-1]
	}
	begin := len(*last)
	*last = (*last)[:begin+1+n]
	(*last)[begin] = int32(n)
	return uint32(len(l.blocks)-1)<<blockBits | uint32(begin), (*last)[begin+1:]
}

func (l *lists) at(at uint32) []int32 {
	if len(l.blocks) == 0 {
		return nil
	}
	b := l.blocks[at>>blockBits][at&(blockSize-1):]
	return b[1 : 1+b[0] : 1+b[0]]
}

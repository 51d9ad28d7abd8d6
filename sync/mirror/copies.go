package mirror

import (
	"encoding/binary"

	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A narCopy is a NAR to copy.
type narCopy struct {
	id      refgraph.NARID
	replace bool // the one at the destination has another size
	size    int64
}

// A pathCopy is a narinfo or a listing to copy.
type pathCopy struct {
	id      refgraph.PathID
	replace bool
	listed  bool // of a narinfo: the source has a listing beside it
}

// On a shelf stand the id, the flags, and of a NAR the size.
const (
	narCopyBytes  = len(refgraph.NARID{}) + 1 + 8
	pathCopyBytes = len(refgraph.PathID{}) + 1

	flagReplace = 1
	flagListed  = 2
)

func (c narCopy) pack() []byte {
	return binary.LittleEndian.AppendUint64(append(c.id[:], flag(c.replace, flagReplace)), uint64(c.size))
}

func unpackNARCopy(record []byte) (c narCopy) {
	rest := record[copy(c.id[:], record):]
	return narCopy{c.id, rest[0]&flagReplace != 0, int64(binary.LittleEndian.Uint64(rest[1:]))}
}

func (c pathCopy) pack() []byte {
	return append(c.id[:], flag(c.replace, flagReplace)|flag(c.listed, flagListed))
}

func unpackPathCopy(record []byte) (c pathCopy) {
	flags := record[copy(c.id[:], record)]
	return pathCopy{c.id, flags&flagReplace != 0, flags&flagListed != 0}
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

package mirror

import (
	"encoding/binary"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// A narCopy is a NAR to copy.
type narCopy struct {
	key     layout.Key
	replace bool // the one at the destination is another
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
	narCopyBytes  = 1 + 8 // beside the key
	pathCopyBytes = len(refgraph.PathID{}) + 1

	flagReplace = 1
	flagListed  = 2
)

func (c narCopy) pack() []byte {
	return binary.LittleEndian.AppendUint64([]byte{flag(c.replace, flagReplace)}, uint64(c.size))
}

func unpackNARCopy(r refgraph.NARRecord) narCopy {
	return narCopy{r.Key, r.More[0]&flagReplace != 0, int64(binary.LittleEndian.Uint64(r.More[1:]))}
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

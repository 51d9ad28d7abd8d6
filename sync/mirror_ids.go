package sync

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// Keys are kept in the millions, so they are kept as numbers: 20 bytes for a
// store path's hash, 33 for a NAR's key, in the order that the keys have in a
// listing. What a listing yields is thereby sorted, and found by bisection.

// A pathID is the hash of a store path: 32 characters of 5 bits.
type pathID [20]byte

// A narID is the key of a NAR: 52 characters of 5 bits, and 4 bits that tell
// the suffix.
type narID [33]byte

const (
	nix32Digits = "0123456789abcdfghijklmnpqrsvwxyz"
	pathChars   = 32
	narChars    = 52
)

// narSuffixes are all that a NAR's key can end in, sorted.
var narSuffixes = []string{".nar", ".nar.br", ".nar.bz2", ".nar.gz", ".nar.lz4", ".nar.lzip", ".nar.xz", ".nar.zst"}

// packPath packs 32 characters that are known to be a hash.
func packPath(hash string) (id pathID) {
	pack(id[:], hash)
	return id
}

func (id pathID) hash() string { return unpack(id[:], pathChars) }

func (id pathID) narInfo() layout.Key { return layout.Key(id.hash() + ".narinfo") }

func (id pathID) listing() layout.Key { return layout.Key(id.hash() + ".ls") }

// packNAR packs the key of a NAR. It reports false for one that promises no
// hash, which nothing can be checked against.
func packNAR(key layout.Key) (id narID, ok bool) {
	if _, err := key.FileHash(); err != nil {
		return id, false
	}
	name := strings.TrimPrefix(string(key), "nar/")
	suffix, known := slices.BinarySearch(narSuffixes, name[narChars:])
	if !known {
		return id, false
	}
	pack(id[:], name[:narChars])
	id[len(id)-1] |= byte(suffix)
	return id, true
}

func (id narID) key() layout.Key {
	return layout.Key("nar/" + unpack(id[:], narChars) + narSuffixes[id[len(id)-1]&15])
}

func pack(to []byte, digits string) {
	bits, n := uint(0), 0
	for i := range len(digits) {
		bits = bits<<5 | uint(strings.IndexByte(nix32Digits, digits[i]))
		for n += 5; n >= 8; n -= 8 {
			to[0] = byte(bits >> (n - 8))
			to = to[1:]
		}
	}
	if n > 0 {
		to[0] = byte(bits << (8 - n))
	}
}

func unpack(from []byte, chars int) string {
	text := make([]byte, chars)
	bits, n := uint(0), 0
	for i := range text {
		if n < 5 {
			bits, from, n = bits<<8|uint(from[0]), from[1:], n+8
		}
		n -= 5
		text[i] = nix32Digits[bits>>n&31]
	}
	return string(text)
}

// findPath returns where id is in sorted ids, or -1.
func findPath(ids []pathID, id pathID) int {
	i, ok := slices.BinarySearchFunc(ids, id, func(a, b pathID) int { return bytes.Compare(a[:], b[:]) })
	if !ok {
		return -1
	}
	return i
}

// A narCopy is a NAR to copy.
type narCopy struct {
	id      narID
	replace bool // the one at the destination has another size
	size    int64
}

// A pathCopy is a narinfo or a listing to copy.
type pathCopy struct {
	id      pathID
	replace bool
	listed  bool // of a narinfo: the source has a listing beside it
}

// As they are on a shelf: the id, the flags, and of a NAR the size.
const (
	narCopyBytes  = len(narID{}) + 1 + 8
	pathCopyBytes = len(pathID{}) + 1

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

// pathAt returns a path of a shelf of pathIDs.
func pathAt(s *shelf, i int) (id pathID, err error) {
	err = s.at(i, id[:])
	return id, err
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

package refgraph

import (
	"bytes"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// Keys are kept in the millions, so they are kept as numbers: 20 bytes for a
// store path's hash, 33 for a NAR's key, in the order that the keys have in a
// listing. So the results of a listing are sorted, and found by bisection.

// A PathID is the hash of a store path: 32 characters of 5 bits.
type PathID [20]byte

// A narID is the key of a NAR: 52 characters of 5 bits, and 4 bits that tell
// the suffix.
type NARID [33]byte

const (
	pathChars = 32
	narChars  = 52
)

// packPath packs 32 characters that are known to be a hash.
func PackPath(hash string) (id PathID) {
	pack(id[:], hash)
	return id
}

func (id PathID) Hash() string { return unpack(id[:], pathChars) }

func (id PathID) NarInfoKey() layout.Key { return layout.NarInfoKeyOf(id.Hash()) }

func (id PathID) ListingKey() layout.Key { return layout.ListingKeyOf(id.Hash()) }

// PackNAR packs the key of a NAR. It reports false for one that is not named by
// the hash of its file.
func PackNAR(key layout.Key) (id NARID, ok bool) {
	name, ok := strings.CutPrefix(string(key), layout.NARFolder)
	if !ok || len(name) < narChars || name[0] > '1' { // the first character holds one bit
		return id, false
	}
	for i := range narChars {
		if digits[name[i]] < 0 {
			return id, false
		}
	}
	suffix, known := slices.BinarySearch(layout.NARSuffixes, name[narChars:])
	if !known {
		return id, false
	}
	pack(id[:], name[:narChars])
	id[len(id)-1] |= byte(suffix)
	return id, true
}

func (id NARID) Key() layout.Key {
	return layout.Key(layout.NARFolder + unpack(id[:], narChars) + layout.NARSuffixes[id[len(id)-1]&15])
}

// digits has the value of each digit, and -1 for all other characters.
var digits = func() (values [256]int8) {
	for i := range values {
		values[i] = int8(strings.IndexByte(layout.Nix32Digits, byte(i)))
	}
	return values
}()

func pack(to []byte, text string) {
	bits, n := uint(0), 0
	for i := range len(text) {
		bits = bits<<5 | uint(digits[text[i]])
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
		text[i] = layout.Nix32Digits[bits>>n&31]
	}
	return string(text)
}

// findPath returns where id is in sorted ids, or -1.
func FindPath(ids []PathID, id PathID) int {
	i, ok := slices.BinarySearchFunc(ids, id, func(a, b PathID) int { return bytes.Compare(a[:], b[:]) })
	if !ok {
		return -1
	}
	return i
}

// pathAt returns a path of a shelf of pathIDs.
func PathAt(s *Shelf, i int) (id PathID, err error) {
	err = s.At(i, id[:])
	return id, err
}

package seek

import (
	"bytes"
	"math"
	"slices"
	"sort"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	hashLen = 32
	// fold is by how many digits of their hash the known ones are found: each place
	// then has one of a million.
	fold = 4
	// blockLen is how many hashes a block has: blocks are not copied while a list grows.
	blockLen = 4096
)

// A known is the hashes of an index in order, and which of them were met since. A million
// take 32 MB, and are found without an allocation.
type known struct {
	paths []layout.StorePath // those that match

	blocks [][]byte // of hashes
	count  int
	begins []uint32 // the number of the first hash of each place up to the last
	last   int      // the last place that has any
	met    []uint64 // a bit for each
}

// values are those of the digits of a hash, plus one; 0 is for any other byte.
var values = func() (v [256]byte) {
	for i := range layout.Nix32Digits {
		v[layout.Nix32Digits[i]] = byte(i) + 1
	}
	return v
}()

// place returns the place of a hash, -1 for what is not one.
func place[T string | []byte](hash T) int {
	p := 0
	for i := range fold {
		v := int(values[hash[i]])
		if v == 0 {
			return -1
		}
		p = p<<5 | (v - 1)
	}
	return p
}

// add takes the next part of an index, and reports whether it made sense.
func (k *known) add(part Part) bool {
	if k.begins == nil {
		k.begins = make([]uint32, 1<<(5*fold))
	}
	for hash := range slices.Chunk(part.Hashes, hashLen) {
		if len(hash) < hashLen {
			return false
		}
		n, p := k.count, place(hash)
		if p < k.last || n > 0 && bytes.Compare(hash, k.hash(n-1)) <= 0 || n == math.MaxUint32 {
			return false
		}
		for k.last < p {
			k.last++
			k.begins[k.last] = uint32(n)
		}
		if n%blockLen == 0 {
			k.blocks = append(k.blocks, make([]byte, 0, blockLen*hashLen))
			k.met = append(k.met, make([]uint64, blockLen/64)...)
		}
		last := len(k.blocks) - 1
		k.blocks[last] = append(k.blocks[last], hash...)
		k.count++
	}
	k.paths = append(k.paths, part.Paths...)
	return true
}

func (k *known) hash(n int) []byte {
	at := n % blockLen * hashLen
	return k.blocks[n/blockLen][at : at+hashLen]
}

// at returns the number of a hash, -1 for one that is not known.
func (k *known) at(hash string) int {
	p := place(hash)
	if p < 0 || p > k.last || k.begins == nil {
		return -1
	}
	from, end := int(k.begins[p]), k.count
	if p < k.last {
		end = int(k.begins[p+1])
	}
	n := from + sort.Search(end-from, func(i int) bool { return string(k.hash(from+i)) >= hash }) // which copies nothing
	if n == end || string(k.hash(n)) != hash {
		return -1
	}
	return n
}

// mark notes that a hash was met, and reports whether it is known.
func (k *known) mark(hash string) bool {
	n := k.at(hash)
	if n < 0 {
		return false
	}
	k.met[n/64] |= 1 << (n % 64)
	return true
}

// marked reports whether a hash was met.
func (k *known) marked(hash string) bool {
	n := k.at(hash)
	return n >= 0 && k.met[n/64]&(1<<(n%64)) != 0
}

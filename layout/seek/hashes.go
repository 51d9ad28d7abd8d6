package seek

import (
	"hash/maphash"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	hashLen = 32
	// fold is how many digits of a hash say which place it has: of a million paths each
	// place has thirty, and the sums of all fit into the memory beside a processor.
	fold   = 3
	places = 1 << (5 * fold)
)

// A hashSet is hashes of paths in no order, of which each place has a sum. If the sums
// of a place are equal in two sets, so are its hashes: each hash counts with a number
// that a secret seed of the process makes of it, so an uploader cannot choose hashes
// whose sums are equal. Two sets of a million are compared without a search that way,
// and each takes 32 MB.
type hashSet struct {
	seed   maphash.Seed
	sums   []uint64
	blocks [][]byte // of hashes, one behind the other
}

func newHashSet(seed maphash.Seed) *hashSet {
	return &hashSet{seed: seed, sums: make([]uint64, places)}
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
	if len(hash) < hashLen {
		return -1
	}
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

// add takes hashes and keeps them. It reports whether they made sense, and takes none
// otherwise.
func (s *hashSet) add(hashes []byte) bool {
	for hash := range slices.Chunk(hashes, hashLen) {
		if place(hash) < 0 {
			return false
		}
	}
	for hash := range slices.Chunk(hashes, hashLen) {
		s.sums[place(hash)] += maphash.Bytes(s.seed, hash)
	}
	s.blocks = append(s.blocks, hashes)
	return true
}

// differs reports whether the place of a hash has others in one of two sets.
func differs[T string | []byte](a, b *hashSet, hash T) bool {
	p := place(hash)
	return a.sums[p] != b.sums[p]
}

// unlike yields the hashes of a set at whose places another set differs.
func (s *hashSet) unlike(other *hashSet) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, block := range s.blocks {
			for hash := range slices.Chunk(block, hashLen) {
				if differs(s, other, hash) && !yield(hash) {
					return
				}
			}
		}
	}
}

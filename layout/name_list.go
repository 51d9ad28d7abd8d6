package layout

import (
	"encoding/binary"
	"iter"
	"maps"
	"slices"
)

// A nameList sorts the names in a directory, of which there may be millions: as strings
// of their own they would take twice the memory. They lie behind each other in buckets by
// their first two bytes, each of which is sorted when its turn comes, and given back.
type nameList struct {
	buckets map[[2]byte][]byte // of names, each behind its length
}

func (l *nameList) add(name string) {
	if l.buckets == nil {
		l.buckets = map[[2]byte][]byte{}
	}
	var first [2]byte
	copy(first[:], name)
	b := binary.AppendUvarint(l.buckets[first], uint64(len(name)))
	l.buckets[first] = append(b, name...)
}

// take yields the names in their order, each once, and forgets them: some file systems
// name a file twice while others change the directory.
func (l *nameList) take() iter.Seq[string] {
	return func(yield func(string) bool) {
		order := slices.SortedFunc(maps.Keys(l.buckets), func(a, b [2]byte) int { return slices.Compare(a[:], b[:]) })
		for _, first := range order {
			text := string(l.buckets[first]) // which the names share
			delete(l.buckets, first)
			var names []string
			for rest := []byte(text); len(rest) > 0; {
				n, begin := binary.Uvarint(rest)
				at := len(text) - len(rest) + begin
				names = append(names, text[at:at+int(n)])
				rest = rest[begin+int(n):]
			}
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				if !yield(name) {
					return
				}
			}
		}
	}
}

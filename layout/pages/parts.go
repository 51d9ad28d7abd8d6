package pages

import (
	"cmp"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// The records and the lines of words that are in work at once: some dozens of megabytes.
const (
	recordsAtOnce = 100_000
	wordsAtOnce   = 200_000
)

// parts cuts a change of paths into those of so many paths, in the order of hashes. The last
// of two records of a path counts.
func (c Change) parts(most int) (parts []Change) {
	came, gone := byHash(c.Came), c.Gone
	if !slices.IsSorted(gone) {
		gone = slices.Sorted(slices.Values(gone))
	}
	for len(came)+len(gone) > 0 {
		n, m := len(came), len(gone)
		if n+m > most {
			n, m = min(n, most/2), min(m, most/2)
			// Both parts end at the same hash, the smaller one.
			switch {
			case m == 0 || n > 0 && came[n-1].Path.Hash() <= gone[m-1].Hash():
				m = upTo(gone, came[n-1].Path.Hash())
			default:
				end := gone[m-1].Hash()
				m = upTo(gone, end)
				n, _ = slices.BinarySearchFunc(came, end, func(r Record, end string) int {
					if r.Path.Hash() <= end {
						return -1
					}
					return 1
				})
			}
		}
		parts = append(parts, Change{Came: came[:n], Gone: gone[:m]})
		came, gone = came[n:], gone[m:]
	}
	return parts
}

// byHash returns records in the order of their hashes, the last one of each.
func byHash(records []Record) []Record {
	ordered := true
	for i := 1; i < len(records) && ordered; i++ {
		ordered = records[i-1].Path.Hash() < records[i].Path.Hash()
	}
	if ordered {
		return records
	}
	// Numbers are sorted, as records are large.
	type place struct {
		begins uint64
		n      int
	}
	places := make([]place, len(records))
	for n, r := range records {
		places[n] = place{begin(r.Path.Hash()), n}
	}
	slices.SortFunc(places, func(a, b place) int {
		if c := cmp.Compare(a.begins, b.begins); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(records[a.n].Path.Hash(), records[b.n].Path.Hash()), cmp.Compare(a.n, b.n))
	})
	sorted := make([]Record, 0, len(records))
	for i, p := range places {
		if i+1 == len(places) || records[p.n].Path.Hash() != records[places[i+1].n].Path.Hash() {
			sorted = append(sorted, records[p.n])
		}
	}
	return sorted
}

// begin returns the first eight bytes of a text in small letters, as a number in the order of
// such texts.
func begin(text string) (n uint64) {
	for i := range 8 {
		n <<= 8
		if i < len(text) {
			n |= uint64(lower(text[i]))
		}
	}
	return n
}

// upTo returns how many of the paths, which are in order, have a hash of at most end.
func upTo(paths []layout.StorePath, end string) int {
	n, _ := slices.BinarySearchFunc(paths, end, func(p layout.StorePath, end string) int {
		if p.Hash() <= end {
			return -1
		}
		return 1
	})
	return n
}

// change is the change that makes a difference.
func (d *difference) change() Change {
	c := Change{Came: d.came}
	for _, r := range d.gone {
		c.Gone = append(c.Gone, r.Path)
	}
	return c // of a path that is in both, what came counts
}

// A word is a line of the table of names that is not written out yet.
type word struct {
	begins uint64 // of the line
	record uint32 // those that came, and behind them those that are gone
	begin  uint8
}

// wordEdits yields the edits of the table of names, in order, so many at once.
func wordEdits(d difference, names kind, most int) iter.Seq[[]edit] {
	record := func(w word) *Record {
		if n := int(w.record); n >= len(d.came) {
			return &d.gone[n-len(d.came)]
		}
		return &d.came[w.record]
	}
	var words []word
	for n := range len(d.came) + len(d.gone) {
		r := record(word{record: uint32(n)})
		name := r.Path.Name()
		r.words(func(at int) { words = append(words, word{begin(name[at:]), uint32(n), uint8(at)}) })
	}
	// The order is that of the lines in small letters: a blank comes before all that a name
	// has, so that one part of a line after the other can be compared.
	byLine := func(a, b word) int {
		if c := cmp.Compare(a.begins, b.begins); c != 0 {
			return c
		}
		p, q := record(a).Path, record(b).Path
		m, n := p.Name(), q.Name()
		if c := compareLower(m[a.begin:], n[b.begin:]); c != 0 {
			return c
		}
		return cmp.Or(compareLower(m[:a.begin], n[:b.begin]), strings.Compare(p.Hash(), q.Hash()))
	}
	sortSideBySide(words, runtime.GOMAXPROCS(0), func(a, b word) int {
		if c := byLine(a, b); c != 0 {
			return c
		}
		return cmp.Compare(a.record, b.record) // what came counts
	})
	words = slices.CompactFunc(words, func(a, b word) bool { return byLine(a, b) == 0 })
	return func(yield func([]edit) bool) {
		for part := range slices.Chunk(words, most) {
			edits := make([]edit, 0, len(part))
			for _, w := range part {
				line := record(w).wordLine(int(w.begin))
				edits = append(edits, edit{names.key(line), line, int(w.record) >= len(d.came)})
			}
			if !yield(edits) {
				return
			}
		}
	}
}

// sortSideBySide sorts in place, on so many processors at once.
func sortSideBySide[T any](list []T, jobs int, compare func(a, b T) int) {
	const least, samples = 1 << 12, 31
	var halves sync.WaitGroup
	defer halves.Wait()
	for ; jobs > 1 && len(list) > least; jobs -= jobs / 2 {
		var some [samples]T
		for i := range some {
			some[i] = list[i*len(list)/samples]
		}
		slices.SortFunc(some[:], compare)
		middle, n := some[samples/2], 0
		for i := range list {
			if compare(list[i], middle) < 0 {
				list[i], list[n] = list[n], list[i]
				n++
			}
		}
		less, mine := list[:n], jobs/2
		halves.Go(func() { sortSideBySide(less, mine, compare) })
		list = list[n:]
	}
	slices.SortFunc(list, compare)
}

// compareLower compares two names as if they were in small letters.
func compareLower(a, b string) int {
	for i := range min(len(a), len(b)) {
		if c, d := lower(a[i]), lower(b[i]); c != d {
			return cmp.Compare(c, d)
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

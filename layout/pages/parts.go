package pages

import (
	"cmp"
	"iter"
	"slices"
	"strings"

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
	byHash := func(a, b Record) int { return strings.Compare(a.Path.Hash(), b.Path.Hash()) }
	came, gone := c.Came, c.Gone
	if !slices.IsSortedFunc(came, byHash) {
		came = slices.Clone(came)
		slices.SortStableFunc(came, byHash)
	}
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
				end := came[n-1].Path.Hash()
				for n < len(came) && came[n].Path.Hash() == end {
					n++
				}
				m = upTo(gone, end)
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
	record uint32 // those that came, and behind them those that are gone
	begin  uint8
}

// wordEdits yields the edits of the table of names, in order, so many at once.
func wordEdits(d difference, names kind, most int) iter.Seq[[]edit] {
	record := func(w word) Record {
		if n := int(w.record); n >= len(d.came) {
			return d.gone[n-len(d.came)]
		}
		return d.came[w.record]
	}
	var words []word
	for n := range len(d.came) + len(d.gone) {
		record(word{record: uint32(n)}).words(func(begin int) { words = append(words, word{uint32(n), uint8(begin)}) })
	}
	// The order is that of the lines in small letters: a blank comes before all that a name
	// has, so that one part of a line after the other can be compared.
	byLine := func(a, b word) int {
		p, q := record(a).Path, record(b).Path
		m, n := p.Name(), q.Name()
		return cmp.Or(compareLower(m[a.begin:], n[b.begin:]), compareLower(m[:a.begin], n[:b.begin]), strings.Compare(p.Hash(), q.Hash()))
	}
	slices.SortFunc(words, func(a, b word) int {
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

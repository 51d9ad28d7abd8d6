package pages

import (
	"slices"
	"strings"
	"time"
)

// totals sum the lines of the table of hashes up.
type totals struct {
	Size
	Months map[string]Size `json:"months,omitempty"` // by month of arrival, such as 2030-01
	Newest []string        `json:"newest,omitempty"` // lines, the newest first
}

// A Size is what paths come to.
type Size struct {
	Paths     int64 `json:"paths"`
	NarBytes  int64 `json:"narBytes"`
	FileBytes int64 `json:"fileBytes"`
}

func (s Size) plus(r Record, times int64) Size {
	return Size{s.Paths + times, s.NarBytes + times*r.NarSize, s.FileBytes + times*r.FileSize}
}

// shown is how many of the newest paths the index shows.
const shown = 20

// after returns the totals after paths came and went.
func (t *totals) after(came, gone []Record) *totals {
	next := &totals{Months: map[string]Size{}}
	var newest []Record
	if t != nil {
		next.Size = t.Size
		for month, size := range t.Months {
			next.Months[month] = size
		}
		for _, r := range t.records() {
			newest = insert(newest, r)
		}
	}
	left := map[string]bool{}
	var month string // of the time below
	var year, number int
	count := func(r Record, times int64) {
		if y, m, _ := r.Time.Date(); month == "" || y != year || int(m) != number {
			month, year, number = r.Time.Format("2006-01"), y, int(m)
		}
		next.Size = next.Size.plus(r, times)
		if size := next.Months[month].plus(r, times); size.Paths > 0 {
			next.Months[month] = size
		} else {
			delete(next.Months, month)
		}
	}
	for _, r := range gone {
		count(r, -1)
		left[r.Path.Hash()] = true
	}
	newest = slices.DeleteFunc(newest, func(r Record) bool { return left[r.Path.Hash()] })
	for _, r := range came {
		count(r, 1)
		newest = insert(newest, r)
	}
	for _, r := range newest {
		next.Newest = append(next.Newest, r.line())
	}
	return next
}

// insert puts a record into the newest ones, of which so many are kept as are shown.
func insert(newest []Record, r Record) []Record {
	if len(newest) == shown && byAge(newest[shown-1], r) < 0 {
		return newest
	}
	at, _ := slices.BinarySearchFunc(newest, r, byAge)
	newest = slices.Insert(newest, at, r)
	return newest[:min(shown, len(newest))]
}

// byAge is the order of the newest paths.
func byAge(a, b Record) int {
	if c := b.Time.Compare(a.Time); c != 0 {
		return c
	}
	return strings.Compare(string(a.Path), string(b.Path))
}

// records returns the newest paths.
func (t *totals) records() (newest []Record) {
	if t == nil {
		return nil
	}
	for _, line := range t.Newest {
		if r, err := parseLine(line); err == nil {
			newest = append(newest, r)
		}
	}
	return newest
}

// A Month is what came in one month and is still there.
type Month struct {
	Month string `json:"month"` // such as 2030-01
	Size
}

// months returns the growth of the tree, the earliest month first. Months without
// arrivals are among them, for at most ten years.
func (t *totals) months() []Month {
	if t == nil || len(t.Months) == 0 {
		return nil
	}
	var names []string
	for name := range t.Months {
		if _, err := time.Parse("2006-01", name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []Month
	if len(names) == 0 {
		return nil
	}
	first, _ := time.Parse("2006-01", names[0])
	last := names[len(names)-1]
	for m := first; len(all) < 120; m = m.AddDate(0, 1, 0) {
		name := m.Format("2006-01")
		all = append(all, Month{name, t.Months[name]})
		if name >= last {
			return all
		}
	}
	// A tree from 1970, as some copies have it: the gap is not shown.
	all = all[:0]
	for _, name := range names {
		all = append(all, Month{name, t.Months[name]})
	}
	return all
}

// Plus adds two sizes.
func (s Size) Plus(o Size) Size {
	return Size{s.Paths + o.Paths, s.NarBytes + o.NarBytes, s.FileBytes + o.FileBytes}
}

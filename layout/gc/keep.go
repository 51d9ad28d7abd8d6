package gc

import (
	"fmt"
	"strings"
	"time"
)

// A Keep says how many generations of one name stay. Each part means what the
// option of that name of restic 0.14 means (forget --keep-last and so on): a
// generation stays if one part keeps it.
type Keep struct {
	All                                  bool
	Last, Daily, Weekly, Monthly, Yearly int
	Within                               Age // counted back from the newest generation
}

// String returns what parseKeep reads.
func (k Keep) String() string {
	var parts []string
	if k.All {
		parts = append(parts, "all")
	}
	for _, p := range k.counted() {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", p.word, p.count))
		}
	}
	if !k.Within.IsZero() {
		parts = append(parts, "within "+k.Within.String())
	}
	return strings.Join(parts, ", ")
}

// A counted part keeps the newest generation of each of so many periods.
type counted struct {
	word   string
	count  int
	period func(time.Time) int
}

func (k Keep) counted() []counted {
	return []counted{
		{"last", k.Last, nil},
		{"daily", k.Daily, func(t time.Time) int { return t.Year()*10_000 + int(t.Month())*100 + t.Day() }},
		{"weekly", k.Weekly, func(t time.Time) int {
			year, week := t.ISOWeek()
			return year*100 + week
		}},
		{"monthly", k.Monthly, func(t time.Time) int { return t.Year()*100 + int(t.Month()) }},
		{"yearly", k.Yearly, time.Time.Year},
	}
}

// Kept returns which of some moments stay, the newest of which comes first. Days
// and weeks are those of UTC. A moment in the future, by a clock that is wrong, is
// not the newest.
func (k Keep) Kept(moments []time.Time, now time.Time) []bool {
	kept := make([]bool, len(moments))
	if k.All || !k.Within.IsZero() {
		var since time.Time
		for _, t := range moments {
			if !t.After(now) {
				since = k.Within.Before(t.UTC())
				break
			}
		}
		for i, t := range moments {
			kept[i] = k.All || t.After(since)
		}
	}
	for _, part := range k.counted() {
		left, last := part.count, -1
		for i, t := range moments {
			period := i
			if part.period != nil {
				period = part.period(t.UTC())
			}
			if left > 0 && period != last {
				kept[i] = true
				left, last = left-1, period
			}
		}
	}
	return kept
}

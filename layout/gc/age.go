package gc

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Age is a span of time by the calendar, as restic writes it: 14d, 1y6m, 12h.
type Age struct{ Years, Months, Days, Hours int }

// maxAge bounds each number of an Age: no tree is older than a thousand years.
const maxAge = 10_000_000

// ParseAge reads numbers with the units y, m (months), w, d and h, such as 1y6m.
// Zero may go without a unit.
func ParseAge(text string) (Age, error) {
	var a Age
	bad := fmt.Errorf("%.40q is not an age such as 30d, 2w, 12h, 6m (months) or 1y", text)
	if text == "0" {
		return a, nil
	}
	if text == "" {
		return a, bad
	}
	for rest := text; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || digits == len(rest) || n > maxAge {
			return Age{}, bad
		}
		switch rest[digits] {
		case 'y':
			a.Years += n
		case 'm':
			a.Months += n
		case 'w':
			a.Days += 7 * n
		case 'd':
			a.Days += n
		case 'h':
			a.Hours += n
		default:
			return Age{}, bad
		}
		rest = rest[digits+1:]
	}
	if a.Years > 1000 || a.Months > 12_000 || a.Days > 366_000 || a.Hours > 24*366_000 {
		return Age{}, bad
	}
	return a, nil
}

// String returns what ParseAge reads.
func (a Age) String() string {
	text := ""
	for _, part := range []struct {
		n    int
		unit string
	}{{a.Years, "y"}, {a.Months, "m"}, {a.Days, "d"}, {a.Hours, "h"}} {
		if part.n > 0 {
			text += strconv.Itoa(part.n) + part.unit
		}
	}
	if text == "" {
		return "0d"
	}
	return text
}

// Before returns the moment that is so long before another one.
func (a Age) Before(t time.Time) time.Time {
	return t.AddDate(-a.Years, -a.Months, -a.Days).Add(-time.Duration(a.Hours) * time.Hour)
}

// Until returns how long the span is that ends at a moment.
func (a Age) Until(t time.Time) time.Duration { return t.Sub(a.Before(t)) }

// IsZero reports whether the age is zero.
func (a Age) IsZero() bool { return a == Age{} }

// over reports whether something that was put at a second has had so long.
func (a Age) over(born uint32, now time.Time) bool {
	return time.Unix(int64(born), 0).Before(a.Before(now))
}

package gc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	maxPolicy = 64 << 10 // bytes
	maxRules  = 1000
	// maxKept bounds how many generations a rule counts.
	maxKept = 1_000_000
)

// A LineError says which line of a policy makes no sense, counted from 1.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// ParsePolicy reads a policy: a rule on each line, empty lines, and comments that
// begin with #. A word that is not known is an error: a rule of a later version
// may keep what this one does not know of. The error is a *LineError, or several
// that are joined.
//
//	keep pins
//	keep roots  PATTERN  last N, daily N, weekly N, monthly N, yearly N, within AGE
//	keep roots  PATTERN  all
//	expire roots PATTERN unrenewed AGE
//	keep young  AGE
//	keep used   AGE
//	life logs   AGE
//	life debug  AGE
//	max-size    SIZE warn N%
//	undo        AGE
func ParsePolicy(text []byte) (Policy, error) {
	p := Policy{Undo: DefaultUndo}
	if len(text) > maxPolicy {
		return p, fmt.Errorf("it has %d bytes, more than %d", len(text), maxPolicy)
	}
	if !utf8.Valid(text) {
		return p, errors.New("it is not text in UTF-8")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // editors on Windows write it
	var errs []error
	said := map[string]int{}
	rules := 0
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		rules++
		once, err := p.rule(words)
		if first := said[once]; err == nil && first > 0 && once != "" {
			err = fmt.Errorf("line %d says %q already", first, once)
		}
		if err == nil && rules > maxRules {
			err = fmt.Errorf("there are more than %d rules", maxRules)
		}
		if err != nil {
			errs = append(errs, &LineError{number, err})
			if len(errs) == 10 {
				break
			}
			continue
		}
		said[once] = number
	}
	return p, errors.Join(errs...)
}

// rule reads one rule. It returns the words of a rule that can be said but once.
func (p *Policy) rule(words []string) (once string, err error) {
	rest := words[1:]
	head := words[0]
	if head == "keep" || head == "expire" || head == "life" {
		if len(rest) == 0 {
			return "", fmt.Errorf("%q: what? %s", head, ruleForms)
		}
		head, rest = head+" "+rest[0], rest[1:]
	}
	age := func() (Age, error) {
		if len(rest) != 1 {
			return Age{}, fmt.Errorf("%q wants one age, such as 30d", head)
		}
		return ParseAge(rest[0])
	}
	life := func(to **Age) error {
		a, err := age()
		*to = &a
		return err
	}
	switch head {
	case "keep pins":
		if len(rest) > 0 {
			return "", fmt.Errorf("%q wants nothing behind it, not %.40q", head, rest[0])
		}
		p.Pins = true
	case "keep roots":
		r, err := rootRule(rest)
		p.Roots = append(p.Roots, r)
		return "", err
	case "expire roots":
		r, err := expireRule(rest)
		p.Expire = append(p.Expire, r)
		return "", err
	case "keep young":
		p.Young, err = age()
	case "keep used":
		p.Used, err = age()
	case "life logs":
		err = life(&p.Logs)
	case "life debug":
		err = life(&p.Debug)
	case "undo":
		p.Undo, err = age()
	case "max-size":
		err = p.maxSize(rest)
	default:
		return "", fmt.Errorf("%.60q is not a rule; %s", head, ruleForms)
	}
	return head, err
}

const ruleForms = "the rules are keep pins, keep roots, keep young, keep used, expire roots, life logs, life debug, max-size and undo"

func rootRule(words []string) (r RootRule, err error) {
	if len(words) == 0 {
		return r, errors.New(`"keep roots" wants a pattern of names, such as */main/*`)
	}
	if r.Pattern, err = layout.ParseRootPattern(words[0]); err != nil {
		return r, err
	}
	r.Keep, err = parseKeep(strings.Join(words[1:], " "))
	return r, err
}

func expireRule(words []string) (r ExpireRule, err error) {
	if len(words) != 3 || words[1] != "unrenewed" {
		return r, errors.New(`want: expire roots PATTERN unrenewed AGE, such as: expire roots * unrenewed 30d`)
	}
	if r.Pattern, err = layout.ParseRootPattern(words[0]); err != nil {
		return r, err
	}
	r.Unrenewed, err = ParseAge(words[2])
	if err == nil && r.Unrenewed.IsZero() {
		err = errors.New("unrenewed 0 would let every root go at once")
	}
	return r, err
}

func (p *Policy) maxSize(words []string) (err error) {
	if len(words) != 1 && (len(words) != 3 || words[1] != "warn") {
		return errors.New(`want: max-size SIZE, or max-size SIZE warn PERCENT, such as: max-size 500GB warn 85%`)
	}
	if p.MaxSize, err = ParseSize(words[0]); err != nil {
		return err
	}
	if p.MaxSize == 0 {
		return errors.New("max-size 0 would let everything go that is not pinned")
	}
	if len(words) == 1 {
		return nil
	}
	number, ok := strings.CutSuffix(words[2], "%")
	p.Warn, err = strconv.Atoi(number)
	if err != nil || !ok || p.Warn < 1 || p.Warn > 100 {
		return fmt.Errorf("%.40q is not a percentage such as 85%%", words[2])
	}
	return nil
}

// parseKeep reads how many generations stay: "last 5, daily 7", or "all".
func parseKeep(text string) (k Keep, err error) {
	if strings.TrimSpace(text) == "" {
		return k, errors.New(`say how many stay, such as: last 5, daily 7; or: all`)
	}
	said := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 {
			return k, errors.New("there is nothing beside a comma")
		}
		word := words[0]
		if said[word] {
			return k, fmt.Errorf("%q is said twice", word)
		}
		said[word] = true
		if word == "all" {
			if k.All = true; len(words) > 1 {
				return k, fmt.Errorf("%q wants nothing behind it, not %.40q", word, words[1])
			}
			continue
		}
		count := map[string]*int{"last": &k.Last, "daily": &k.Daily, "weekly": &k.Weekly, "monthly": &k.Monthly, "yearly": &k.Yearly}[word]
		switch {
		case count == nil && word != "within":
			return k, fmt.Errorf("%.40q is not one of last, daily, weekly, monthly, yearly, within and all", word)
		case len(words) != 2:
			return k, fmt.Errorf("%q wants one value behind it; commas stand between such pairs", word)
		case count == nil:
			if k.Within, err = ParseAge(words[1]); err == nil && k.Within.IsZero() {
				err = errors.New("within 0 keeps nothing")
			}
		default:
			if *count, err = strconv.Atoi(words[1]); err != nil || *count < 1 || *count > maxKept || words[1][0] == '+' {
				err = fmt.Errorf("%s %.40q: want a number of 1 or more", word, words[1])
			}
		}
		if err != nil {
			return k, err
		}
	}
	return k, nil
}

// ParseBytes reads a number of bytes: "1GiB", "500 MB", "1073741824". A unit
// without i is decimal, as disks are sold.
func ParseBytes(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGTPEkmgtpei ")
	unit := strings.TrimSpace(text[len(number):])
	units := map[string]float64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	factor, ok := units[unit]
	if n *= factor; err != nil || !ok || !(n >= 0) || n >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 64GiB, 500MB or a number of bytes", text)
	}
	return int64(n), nil
}

// minBare is the smallest number of bytes that a person writes without a unit: a size of 2000
// is meant to be of gigabytes.
const minBare = 1 << 20

// ParseSize is ParseBytes for limits that a person writes: a small number alone lacks its
// unit, and is refused.
func ParseSize(text string) (int64, error) {
	n, err := ParseBytes(text)
	if number := strings.TrimSpace(text); err == nil && n > 0 && n < minBare && strings.Trim(number, "0123456789.") == "" {
		return 0, fmt.Errorf("%q is a number of bytes: name a unit, as in %sGB", text, number)
	}
	return n, err
}

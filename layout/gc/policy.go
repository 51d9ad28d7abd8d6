package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/nixstatic/nixstatic/layout"
)

// A Policy says what stays in a tree. A rule of it that keeps only adds to what
// the others keep. Expire, Logs, Debug and MaxSize take away again, and never
// what a pin keeps.
type Policy struct {
	Pins   bool
	Roots  []RootRule
	Expire []ExpireRule
	Young  Age // what was pushed within it stays
	Used   Age // what was read within it stays
	// Logs and Debug are how long a build log and a debug link stay, whatever
	// keeps their path; nil: as long as the path.
	Logs, Debug *Age
	MaxSize     int64 // bytes; 0 for no bound
	Warn        int   // percent of MaxSize from which on a run warns; 0 for never
	Undo        Age   // for how long what is withdrawn can be brought back
}

// A RootRule keeps generations of the roots that match a pattern.
type RootRule struct {
	Pattern layout.RootPattern
	Keep    Keep
}

// An ExpireRule lets roots go, all generations of them, that were not renewed.
type ExpireRule struct {
	Pattern   layout.RootPattern
	Unrenewed Age
}

// DefaultUndo is how long what was withdrawn can be brought back, unless a policy
// says otherwise.
var DefaultUndo = Age{Days: 7}

// DefaultPolicy is that of a tree without one.
func DefaultPolicy() Policy {
	return Policy{Pins: true, Roots: []RootRule{{"*", Keep{Last: 5}}}, Young: Age{Days: 30}, Undo: DefaultUndo}
}

// String returns what ParsePolicy reads, a rule on each line.
func (p Policy) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	if p.Pins {
		line("keep pins")
	}
	for _, r := range p.Roots {
		line("keep roots", r.Pattern, r.Keep)
	}
	for _, r := range p.Expire {
		line("expire roots", r.Pattern, "unrenewed "+r.Unrenewed.String())
	}
	if !p.Young.IsZero() {
		line("keep young", p.Young)
	}
	if !p.Used.IsZero() {
		line("keep used", p.Used)
	}
	if p.Logs != nil {
		line("life logs", *p.Logs)
	}
	if p.Debug != nil {
		line("life debug", *p.Debug)
	}
	if p.MaxSize > 0 {
		text := bytesText(p.MaxSize)
		if p.Warn > 0 {
			text += fmt.Sprintf(" warn %d%%", p.Warn)
		}
		line("max-size", text)
	}
	line("undo", p.Undo)
	w.Flush()
	return b.String()
}

// lives returns how long logs and debug links stay.
func (p *Policy) lives() (logs, debug *Age) {
	if p == nil {
		return nil, nil
	}
	return p.Logs, p.Debug
}

// bytesText returns what ParseBytes reads, exactly, in the largest unit that does.
func bytesText(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TB", 1e12}, {"TiB", 1 << 40}, {"GB", 1e9}, {"GiB", 1 << 30}, {"MB", 1e6}, {"MiB", 1 << 20}} {
		if n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// A PolicyError says that the policy of a tree makes no sense: what it would keep
// is not known.
type PolicyError struct{ Err error }

func (e *PolicyError) Error() string { return fmt.Sprintf("read the policy of the cache: %v", e.Err) }
func (e *PolicyError) Unwrap() error { return e.Err }

// ReadPolicy returns the policy of a tree and its text. The text is nil if the tree
// has none, and the policy then the default.
func ReadPolicy(ctx context.Context, r layout.Reader) (Policy, []byte, error) {
	text, err := layout.ReadAll(ctx, r, layout.PolicyKey)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultPolicy(), nil, nil
	}
	if err != nil {
		return Policy{}, nil, err
	}
	p, err := ParsePolicy(text)
	if err != nil {
		return p, text, &PolicyError{err}
	}
	return p, text, nil
}

// SetPolicy gives a tree a policy that was parsed before.
func SetPolicy(ctx context.Context, t layout.Tree, text []byte) error {
	if _, err := ParsePolicy(text); err != nil {
		return err
	}
	return t.Put(ctx, layout.PolicyKey, layout.Bytes(text), layout.PutOptions{})
}

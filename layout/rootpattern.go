package layout

import (
	"fmt"
	"strings"
)

// A RootPattern matches names of roots. A star stands for any characters, slashes
// too; all else for itself.
type RootPattern string

// Match reports whether the pattern is that of a whole name.
func (p RootPattern) Match(name string) bool {
	first, rest, star := strings.Cut(string(p), "*")
	if !star {
		return name == string(p)
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part) // the first place leaves most for the rest
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], after
	}
}

// MatchRun reports whether the pattern is that of a root, or of a root with a run
// of it behind a slash.
func (p RootPattern) MatchRun(id RunID) bool { return p.Match(id.Root) || p.Match(id.Root+"/"+id.Run) }

// ParseRootPattern reads a pattern of names of roots.
func ParseRootPattern(text string) (RootPattern, error) {
	if text == "" || len(text) > maxRootName {
		return "", fmt.Errorf("a pattern of names has 1 to %d bytes", maxRootName)
	}
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._+-/*", c) >= 0:
		default:
			return "", fmt.Errorf("%.60q is not a pattern of names: only letters, digits and ._+-/ are allowed, and * for any characters", text)
		}
	}
	return RootPattern(text), nil
}

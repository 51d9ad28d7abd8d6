package nixconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxFile    = 1 << 20 // bytes of a file
	maxInclude = 16      // files that include one another
	maxFiles   = 256     // files of one configuration
)

// A Setting is one line of a file.
type Setting struct {
	Name  string // without "extra-", and by its present name
	Value string
	Extra bool   // it adds to what was set before
	File  string // "NIX_CONFIG" for the environment
	Line  int    // the first is 1
}

// At says where the setting is.
func (s Setting) At() string { return fmt.Sprintf("%s:%d", s.File, s.Line) }

// A Problem is what keeps Nix, or this process, from reading a file.
type Problem struct {
	File string
	Line int // 0: the whole file
	Err  error
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %v", p.File, p.Err)
	}
	return fmt.Sprintf("%s:%d: %v", p.File, p.Line, p.Err)
}

func (p Problem) Unwrap() error { return p.Err }

// A Config is what Nix makes of its files.
type Config struct {
	Settings []Setting // in the order in which they count, the last one most
	Problems []Problem
}

// aliases are the older names of settings.
var aliases = map[string]string{
	"binary-caches": "substituters", "trusted-binary-caches": "trusted-substituters",
	"binary-cache-public-keys": "trusted-public-keys", "build-use-substitutes": "substitute",
}

// defaults are the values of settings that no file names, as far as this program
// asks for them.
var defaults = map[string]string{
	"substituters":        "https://cache.nixos.org/",
	"trusted-public-keys": "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
	"trusted-users":       "root",
	"allowed-users":       "*",
	"require-sigs":        "true",
	"substitute":          "true",
}

// Load reads the configuration of a user: the system's file, the user's own, and
// the environment. Files that do not exist have no settings.
func (f Files) Load() *Config {
	c := f.LoadSystem()
	for _, name := range slices.Backward(f.User) {
		c.load(name)
	}
	c.parse("NIX_CONFIG", "", f.Inline, 0)
	return c
}

// LoadSystem reads the system's file alone.
func (f Files) LoadSystem() *Config {
	c := &Config{}
	c.load(f.System)
	return c
}

// LoadFile reads one file, with what it includes.
func LoadFile(name string) *Config {
	c := &Config{}
	c.load(name)
	return c
}

func (c *Config) load(name string) {
	text, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.Problems = append(c.Problems, Problem{name, 0, err})
	default:
		c.parse(name, filepath.Dir(name), string(text), 0)
	}
}

// parse reads text, which stands in a file in dir.
func (c *Config) parse(file, dir, text string, depth int) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' })
		bad := func(err error) { c.Problems = append(c.Problems, Problem{file, n, err}) }
		switch {
		case len(words) == 0:
		case len(words) == 2 && (words[0] == "include" || words[0] == "!include"):
			c.include(file, n, dir, words[1], words[0] == "!include", depth)
		case len(words) < 2 || words[1] != "=":
			bad(errors.New("neither NAME = VALUE nor include FILE"))
		default:
			name, extra := strings.CutPrefix(words[0], "extra-")
			if now, old := aliases[name]; old {
				name = now
			}
			c.Settings = append(c.Settings, Setting{name, strings.Join(words[2:], " "), extra, file, n})
		}
	}
}

func (c *Config) include(file string, line int, dir, name string, optional bool, depth int) {
	bad := func(err error) { c.Problems = append(c.Problems, Problem{file, line, err}) }
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	if depth >= maxInclude || len(c.Settings) > 1<<16 || len(c.Problems) >= maxFiles {
		bad(fmt.Errorf("include %s: more than %d files deep", name, maxInclude))
		return
	}
	text, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
	case err != nil:
		bad(fmt.Errorf("include %s: %w", name, plainError(err)))
	default:
		c.parse(name, filepath.Dir(name), string(text), depth+1)
	}
}

// plainError drops the name of the file, which the caller has.
func plainError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Lines returns the lines that make the value of a setting: the last one that sets
// it, and those after that add to it.
func (c *Config) Lines(name string) []Setting {
	var have []Setting
	for _, s := range c.Settings {
		if s.Name != name {
			continue
		}
		if !s.Extra {
			have = have[:0]
		}
		have = append(have, s)
	}
	return have
}

// Get returns the value of a setting, "" if nothing is known of it.
func (c *Config) Get(name string) string {
	lines := c.Lines(name)
	var words []string
	if len(lines) == 0 || lines[0].Extra {
		words = append(words, defaults[name])
	}
	for _, s := range lines {
		words = append(words, s.Value)
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// List returns the words of a setting.
func (c *Config) List(name string) []string { return strings.Fields(c.Get(name)) }

// True reports whether a setting is on.
func (c *Config) True(name string) bool {
	switch c.Get(name) {
	case "true", "yes", "1":
		return true
	}
	return false
}

// Overridden returns the line that sets a list anew after a line that added word
// to it, so that the word counts no more.
func (c *Config) Overridden(name, word string) (added, by Setting, ok bool) {
	for _, s := range c.Settings {
		switch {
		case s.Name != name:
		case slices.ContainsFunc(strings.Fields(s.Value), func(w string) bool { return SameCache(w, word) }):
			added, by, ok = s, Setting{}, true
		case !s.Extra && ok:
			by = s
		}
	}
	return added, by, ok && by.Line > 0
}

// SameCache reports whether two words of a list of substituters name the same
// one: a slash at the end and parameters make no difference.
func SameCache(a, b string) bool { return bare(a) == bare(b) }

func bare(url string) string {
	if !strings.HasPrefix(url, "s3://") {
		url, _, _ = strings.Cut(url, "?")
	}
	return strings.TrimRight(url, "/")
}

// Uses reports whether a cache is among the substituters.
func (c *Config) Uses(url string) bool { return Has(c.List("substituters"), url) }

// Has reports whether a cache is in a list of caches.
func Has(list []string, url string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return SameCache(s, url) })
}

// NetrcFile returns the netrc file that counts, and the line that names it, which
// is zero if none does.
func (c *Config) NetrcFile(f Files) (string, Setting) {
	if lines := c.Lines("netrc-file"); len(lines) > 0 && lines[len(lines)-1].Value != "" {
		return lines[len(lines)-1].Value, lines[len(lines)-1]
	}
	return f.Netrc(), Setting{}
}

// readFile reads a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if st.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", name, maxFile)
	}
	return text, err
}

package awsconfig

import (
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Section is the settings under one heading. Keys are in lower case.
type Section map[string]string

// Text returns a setting that is one value. A group of settings is none.
func (s Section) Text(key string) (string, bool) {
	value, ok := s[key]
	if strings.HasPrefix(value, "\n") {
		return "", false
	}
	return value, ok
}

// Group returns the settings that are indented under a key, nil for none.
func (s Section) Group(key string) map[string]string {
	group, _ := parseGroup(s[key])
	return group
}

// A SyntaxError says where a file is not what it should be. It repeats nothing of
// the line, which may hold a secret.
type SyntaxError struct {
	Line int
	What string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d %s", e.Line, e.What) }

// heading is a section with its name as it stands between the brackets.
type heading struct {
	name string
	Section
}

// parse reads a file. It returns the sections in their order.
func parse(text string) ([]heading, error) {
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	p := parser{known: map[string]*section{}}
	for i, line := range strings.Split(text, "\n") {
		if what := p.line(line, i+1); what != "" {
			return nil, &SyntaxError{i + 1, what}
		}
	}
	return p.end()
}

// A parser is how far the reading of a file came.
type parser struct {
	sections []*section // but [DEFAULT]
	known    map[string]*section
	in       *section
	at       *setting // that the next line may go on with
	indent   int      // of the line that at began in
}

type section struct {
	name     string
	settings map[string]*setting
}

type setting struct {
	line  int
	lines []string
}

// line takes in one line. It returns what is wrong with it, "" for nothing.
func (p *parser) line(line string, number int) (wrong string) {
	value := trim(line)
	switch {
	case strings.HasPrefix(value, "#"), strings.HasPrefix(value, ";"):
		return ""
	case value == "":
		if p.at != nil {
			p.at.lines = append(p.at.lines, "")
		}
		return ""
	}
	indent := utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeftFunc(line, isSpace))
	if p.at != nil && indent > p.indent {
		p.at.lines = append(p.at.lines, value)
		return ""
	}
	p.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end >= 2 {
		return p.heading(value[1:end])
	}
	if p.in == nil {
		return "stands before the first [section]"
	}
	end := strings.IndexAny(value, "=:")
	if end <= 0 {
		return "is neither [section] nor key = value"
	}
	key := strings.ToLower(strings.TrimRightFunc(value[:end], isSpace))
	if p.in.settings[key] != nil {
		return "repeats a key of its section"
	}
	p.at = &setting{number, []string{trim(value[end+1:])}}
	p.in.settings[key] = p.at
	return ""
}

func (p *parser) heading(name string) (wrong string) {
	p.at = nil
	if have := p.known[name]; have != nil {
		if name != everywhere {
			return "repeats a section"
		}
		p.in = have
		return ""
	}
	p.in = &section{name, map[string]*setting{}}
	p.known[name] = p.in
	if name != everywhere {
		p.sections = append(p.sections, p.in)
	}
	return ""
}

// everywhere is the section whose settings all others have.
const everywhere = "DEFAULT"

// end puts together what the lines said.
func (p *parser) end() ([]heading, error) {
	var out []heading
	for _, s := range p.sections {
		settings := map[string]*setting{}
		if all := p.known[everywhere]; all != nil {
			maps.Copy(settings, all.settings)
		}
		maps.Copy(settings, s.settings)
		h := heading{s.name, Section{}}
		for key, set := range settings {
			h.Section[key] = strings.TrimRightFunc(strings.Join(set.lines, "\n"), isSpace)
			if _, ok := parseGroup(h.Section[key]); !ok {
				return nil, &SyntaxError{set.line, "is followed by one that is indented and not key = value"}
			}
		}
		out = append(out, h)
	}
	return out, nil
}

// parseGroup reads the lines below a key that has nothing on its own. It returns
// nil for a plain value.
func parseGroup(value string) (group map[string]string, ok bool) {
	if !strings.HasPrefix(value, "\n") {
		return nil, true
	}
	group = map[string]string{}
	for line := range strings.SplitSeq(value, "\n") {
		if line = trim(line); line == "" {
			continue
		}
		key, inner, ok := strings.Cut(line, "=")
		if !ok {
			return nil, false
		}
		group[trim(key)] = trim(inner)
	}
	return group, true
}

func trim(s string) string { return strings.TrimFunc(s, isSpace) }

// isSpace reports what Python takes for a blank.
func isSpace(c rune) bool { return unicode.IsSpace(c) || 0x1c <= c && c <= 0x1f }

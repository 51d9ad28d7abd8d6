package nixstore

import (
	"fmt"
	"strings"
)

// An aterm reads the textual form of annotated terms that .drv files have: strings,
// lists and tuples, without blanks. The first error stays.
type aterm struct {
	rest string
	err  error
}

func (p *aterm) fail(msg string) {
	if p.err == nil {
		p.err = fmt.Errorf("malformed derivation: %s, before %.40q", msg, p.rest)
		p.rest = ""
	}
}

func (p *aterm) want(token string) {
	rest, ok := strings.CutPrefix(p.rest, token)
	if !ok {
		p.fail(fmt.Sprintf("want %q", token))
		return
	}
	p.rest = rest
}

// list reads a list, whose items item reads.
func (p *aterm) list(item func()) {
	p.want("[")
	for n := 0; p.err == nil && !strings.HasPrefix(p.rest, "]"); n++ {
		if n > 0 {
			p.want(",")
		}
		item()
	}
	p.want("]")
}

// texts reads a list of strings.
func (p *aterm) texts() (texts []string) {
	p.list(func() { texts = append(texts, p.text()) })
	return texts
}

// tuple reads n strings in parentheses.
func (p *aterm) tuple(n int) []string {
	texts := make([]string, n)
	p.want("(")
	for i := range texts {
		if i > 0 {
			p.want(",")
		}
		texts[i] = p.text()
	}
	p.want(")")
	return texts
}

// text reads a string. A backslash stands before n, r, t for the control
// characters, and before any other character for that character.
func (p *aterm) text() string {
	p.want(`"`)
	end := strings.IndexAny(p.rest, `"\`)
	if end >= 0 && p.rest[end] == '"' { // most
		s := p.rest[:end]
		p.rest = p.rest[end+1:]
		return s
	}
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		if c == '"' {
			p.rest = p.rest[i+1:]
			return b.String()
		}
		if c == '\\' && i+1 < len(p.rest) {
			i++
			switch c = p.rest[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
		}
		b.WriteByte(c)
	}
	p.fail("a string without end")
	return ""
}

package terminal

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// On a terminal, lines and characters of every script stay, and nothing else steers it.
func TestEscaper(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"a\tb\nc\\d":                        "a\tb\nc\\d",
		"größe 日本 \U0001f600":               "größe 日本 \U0001f600",
		"\x1b]0;x\x07\r\b\x7f\x00":          `\x1b]0;x\a\r\b\x7f\x00`,
		"\u009b31m\u202e\u2066\u200f\u2028": `\u009b31m\u202e\u2066\u200f\u2028`,
		"\x9b31m\xff":                       `\x9b31m\xff`,
		"cut \xe6\x97":                      `cut \xe6\x97`,
	} {
		for _, size := range []int{1, 2, 1000} {
			var out bytes.Buffer
			e := &Escaper{W: &out}
			for rest := []byte(text); len(rest) > 0; {
				n := min(size, len(rest))
				if m, err := e.Write(rest[:n]); m != n || err != nil {
					t.Fatal(m, err)
				}
				rest = rest[n:]
			}
			if err := e.Flush(); err != nil || out.String() != want {
				t.Errorf("%q in pieces of %d: %q, %v", text, size, out.String(), err)
			}
		}
	}
}

func FuzzEscaper(f *testing.F) {
	f.Add([]byte("a\x1b[2J\u202e\xff"), 1)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		at = max(0, min(at, len(text)))
		var out bytes.Buffer
		e := &Escaper{W: &out}
		e.Write(text[:at])
		e.Write(text[at:])
		e.Flush()
		if !utf8.Valid(out.Bytes()) || strings.ContainsFunc(out.String(), func(r rune) bool {
			return r != '\n' && r != '\t' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp)
		}) {
			t.Errorf("%q steers a terminal", out.String())
		}
	})
}

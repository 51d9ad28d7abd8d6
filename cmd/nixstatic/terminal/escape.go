// Package terminal writes text from outside for a person who reads it on a terminal.
package terminal

import (
	"fmt"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// An Escaper writes text to a terminal without what could steer it. Lines and tabs stay, and
// so does a backslash.
type Escaper struct {
	W    io.Writer
	rest []byte // the beginning of a character
}

// Write keeps the beginning of a character until the rest of it comes.
func (e *Escaper) Write(p []byte) (int, error) {
	text := append(e.rest, p...)
	var out []byte
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		out, text = appendShown(out, r, text[:n]), text[n:]
	}
	e.rest = append([]byte(nil), text...)
	if _, err := e.W.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what was only the beginning of a character.
func (e *Escaper) Flush() error {
	var out []byte
	for _, c := range e.rest {
		out = fmt.Appendf(out, `\x%02x`, c)
	}
	e.rest = nil
	_, err := e.W.Write(out)
	return err
}

// appendShown appends a character, or an escape for it.
func appendShown(out []byte, r rune, raw []byte) []byte {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Appendf(out, `\x%02x`, raw[0])
	case r == '\n' || r == '\t' || !unicode.In(r, unicode.C, unicode.Zl, unicode.Zp):
		return append(out, raw...)
	}
	quoted := strconv.QuoteRuneToASCII(r)
	return append(out, quoted[1:len(quoted)-1]...)
}

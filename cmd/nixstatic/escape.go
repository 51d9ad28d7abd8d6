package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shown is a name from outside as a person may see it: what cannot be seen, or would
// steer a terminal or turn the direction of text around, is written as an escape, and so is
// a backslash.
func shown(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// An escaper writes text to a terminal without what could steer it. Lines and tabs stay, and
// so does a backslash.
type escaper struct {
	w    io.Writer
	rest []byte // the beginning of a character
}

// Write keeps the beginning of a character until the rest of it comes.
func (e *escaper) Write(p []byte) (int, error) {
	text := append(e.rest, p...)
	var out []byte
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		out, text = appendShown(out, r, text[:n]), text[n:]
	}
	e.rest = append([]byte(nil), text...)
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what was only the beginning of a character.
func (e *escaper) flush() error {
	var out []byte
	for _, c := range e.rest {
		out = fmt.Appendf(out, `\x%02x`, c)
	}
	e.rest = nil
	_, err := e.w.Write(out)
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

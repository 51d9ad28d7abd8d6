package awsconfig

import (
	"errors"
	"strings"
)

// Words splits a command line as a POSIX shell does, and nothing more: a shell
// would expand variables and patterns too. Within double quotes a backslash
// guards a quote and itself, outside it guards anything, within single quotes
// nothing.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun := false // a word, that may be empty
	var quote byte // that is open
	guarded := false
	for _, c := range []byte(line) {
		switch {
		case guarded:
			if quote != 0 && c != quote && c != '\\' {
				word.WriteByte('\\')
			}
			word.WriteByte(c)
			guarded = false
		case c == '\\' && quote != '\'':
			guarded, begun = true, true
		case c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	switch {
	case guarded:
		return nil, errors.New("a backslash stands at its end")
	case quote != 0:
		return nil, errors.New("a quotation mark is never closed")
	case begun:
		words = append(words, word.String())
	}
	return words, nil
}

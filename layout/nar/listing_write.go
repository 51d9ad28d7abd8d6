package nar

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// A ListingWriter is a Visitor that writes the listing of a NAR as the NAR goes by:
// the JSON of the ".ls" files in binary caches, version 1, in the form of Nix 2.35
// and later. The form is compact, without a newline at the end, the keys of every
// object in ascending order, "executable" with every regular file, and "narOffset"
// unless it is 0.
//
// JSON is text and names are bytes: each byte that is not part of valid UTF-8 is
// written as U+FFFD. Then two entries of a directory may share a key, and readers
// of JSON see the last. (Nix 2.8 writes such bytes as they are, which is not JSON.)
//
// Memory grows with the depth of the tree alone.
type ListingWriter struct {
	// Seek, if it is set before Close, is written too: where the frames of the
	// NAR's file are.
	Seek *Seek

	w    *bufio.Writer
	dirs []bool // for each open directory, whether it has entries yet
	root bool   // the root has begun
}

// NewListingWriter returns a ListingWriter at the start of a listing.
func NewListingWriter(w io.Writer) *ListingWriter {
	return &ListingWriter{w: bufio.NewWriter(w)}
}

// Close ends the listing. It is an error if there was not one whole node; then the
// output is not a listing. It does not close the underlying writer.
func (l *ListingWriter) Close() error {
	if !l.root || len(l.dirs) > 0 {
		return errors.New("write listing: no whole node was listed")
	}
	if l.Seek != nil {
		l.w.WriteString(`,"seek":`)
		l.w.Write(l.Seek.append(nil))
	}
	l.w.WriteString(`,"version":1}`)
	return l.w.Flush()
}

// Enter begins a directory.
func (l *ListingWriter) Enter(name string) error {
	l.key(name)
	l.dirs = append(l.dirs, false)
	return l.put(`{"entries":{`)
}

// Leave ends a directory.
func (l *ListingWriter) Leave() error {
	l.dirs = l.dirs[:len(l.dirs)-1]
	return l.put(`},"type":"directory"}`)
}

// Regular lists a file.
func (l *ListingWriter) Regular(name string, executable bool, size, offset int64) error {
	l.key(name)
	l.put(`{"executable":`)
	l.w.Write(strconv.AppendBool(l.w.AvailableBuffer(), executable))
	if offset != 0 {
		l.put(`,"narOffset":`)
		l.w.Write(strconv.AppendInt(l.w.AvailableBuffer(), offset, 10))
	}
	l.put(`,"size":`)
	l.w.Write(strconv.AppendInt(l.w.AvailableBuffer(), size, 10))
	return l.put(`,"type":"regular"}`)
}

// Content does nothing: a listing tells where contents are, not what they are.
func (l *ListingWriter) Content([]byte) error { return nil }

// Symlink lists a symbolic link.
func (l *ListingWriter) Symlink(name, target string) error {
	l.key(name)
	l.put(`{"target":`)
	l.quote(target)
	return l.put(`,"type":"symlink"}`)
}

// put writes s. The error of a bufio.Writer is sticky: the last call tells of all.
func (l *ListingWriter) put(s string) error {
	_, err := l.w.WriteString(s)
	return err
}

// key writes what comes before a node.
func (l *ListingWriter) key(name string) {
	if len(l.dirs) == 0 {
		l.root = true
		l.put(`{"root":`)
		return
	}
	if used := &l.dirs[len(l.dirs)-1]; *used {
		l.w.WriteByte(',')
	} else {
		*used = true
	}
	l.quote(name)
	l.w.WriteByte(':')
}

// quote writes s as a JSON string with the fewest escapes, as Nix does. Neither
// HTML nor U+2028 is escaped, which encoding/json would.
func (l *ListingWriter) quote(s string) {
	l.w.WriteByte('"')
	start := 0 // of what need not be escaped
	for i := 0; i < len(s); {
		c, size := s[i], 1
		var esc string
		switch {
		case c == '"':
			esc = `\"`
		case c == '\\':
			esc = `\\`
		case c < ' ':
			esc = escapes[c]
		case c >= utf8.RuneSelf:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
				esc = "\uFFFD"
			}
		}
		if esc != "" {
			l.put(s[start:i])
			l.put(esc)
			start = i + size
		}
		i += size
	}
	l.put(s[start:])
	l.w.WriteByte('"')
}

// escapes holds the JSON of the control characters.
var escapes = func() (e [' ']string) {
	const hex = "0123456789abcdef"
	for c := range e {
		e[c] = `\u00` + hex[c>>4:c>>4+1] + hex[c&15:c&15+1]
	}
	e['\b'], e['\f'], e['\n'], e['\r'], e['\t'] = `\b`, `\f`, `\n`, `\r`, `\t`
	return e
}()

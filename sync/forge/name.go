package forge

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// nameOf returns what an object is called in the registry.
func nameOf(key layout.Key) string {
	if key.Kind() == layout.KindNAR {
		return escaped(strings.TrimPrefix(string(key), layout.NARFolder))
	}
	return escaped(string(key))
}

// separator stands for the slash in names, and mark begins two hexadecimal digits that
// stand for a byte which no name may have.
const (
	separator = '&'
	mark      = '^'
)

func escaped(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		switch {
		case c == '/':
			b.WriteByte(separator)
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_+=:;.()[]{}~!@#$%", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%c%02X", mark, c)
		}
	}
	return b.String()
}

func unescaped(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == separator:
			b.WriteByte('/')
		case c == mark && i+2 < len(name):
			n, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
			if err != nil {
				return name
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// keyOf returns the key of the object with a name, and false for a file of
// another program.
func keyOf(name string) (layout.Key, bool) {
	plain := unescaped(name)
	if key, err := layout.ParseKey(layout.NARFolder + plain); err == nil && key.Kind() == layout.KindNAR && nameOf(key) == name {
		return key, true
	}
	key, err := layout.ParseKey(plain)
	if err != nil || key.Kind() == layout.KindForeign || nameOf(key) != name {
		return "", false
	}
	return key, true
}

var (
	urlField  = []byte("URL: ")
	narFolder = []byte(layout.NARFolder)
)

// editURL changes the value of the first field URL of a record.
func editURL(text []byte, edit func([]byte) []byte) []byte {
	at := 0
	if !bytes.HasPrefix(text, urlField) {
		if at = bytes.Index(text, append([]byte("\n"), urlField...)); at < 0 {
			return text
		}
		at++
	}
	at += len(urlField)
	return slices.Concat(text[:at], edit(text[at:]))
}

// outward returns a record as it is in the registry.
func outward(text []byte) []byte {
	return editURL(text, func(url []byte) []byte { return bytes.TrimPrefix(url, narFolder) })
}

// inward returns a record as it is in a tree. A URL that leads elsewhere stays.
func inward(text []byte) []byte {
	return editURL(text, func(url []byte) []byte {
		name, _, _ := bytes.Cut(url, []byte("\n"))
		if key, err := layout.ParseKey(layout.NARFolder + string(name)); err == nil && key.Kind() == layout.KindNAR && !bytes.Contains(name, []byte("/")) {
			return append(bytes.Clone(narFolder), url...)
		}
		return url
	})
}

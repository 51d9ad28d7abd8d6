package nar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A cursor reads JSON that is known to be well formed, so that its methods only ask
// which value is next, not whether it is one. It is stricter than encoding/json with
// a struct, which takes null for anything and "Type" for "type", and ten times as
// fast as its tokens.
type cursor struct {
	json []byte
	at   int
}

// next skips white space and returns the byte after it.
func (c *cursor) next() byte {
	for {
		switch b := c.json[c.at]; b {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return b
		}
	}
}

// object reads an object and calls f with each key; f reads the value.
func (c *cursor) object(f func(key string) error) error {
	if c.next() != '{' {
		return fmt.Errorf("expected an object, not %.40s", c.value())
	}
	c.at++
	for {
		switch c.next() {
		case '}':
			c.at++
			return nil
		case ',':
			c.at++
			c.next()
		}
		key, err := c.unquote(c.value())
		if err != nil {
			return err
		}
		c.next()
		c.at++ // the colon
		if err := f(key); err != nil {
			return err
		}
	}
}

// value reads a value and returns it as it stands: all of a string, number, true,
// false or null, the first byte of an object or array.
func (c *cursor) value() []byte {
	b := c.next()
	start := c.at
	c.at++
	switch b {
	case '{', '[', '}', ']', ',', ':':
	case '"':
		for c.json[c.at] != '"' {
			if c.json[c.at] == '\\' {
				c.at++
			}
			c.at++
		}
		c.at++
	default:
		for c.at < len(c.json) && isLetter(c.json[c.at]) {
			c.at++
		}
	}
	return c.json[start:c.at]
}

// isLetter reports whether b can be in a number, true, false or null.
func isLetter(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || b == 'E' || b == '.' || b == '-' || b == '+'
}

// skip reads past a value of any kind.
func (c *cursor) skip() {
	for depth := 0; ; {
		switch c.value()[0] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth == 0 {
			return
		}
	}
}

// text reads a string.
func (c *cursor) text(key string) (string, error) {
	v := c.value()
	if v[0] != '"' {
		return "", fmt.Errorf("%q cannot be %.40s", key, v)
	}
	return c.unquote(v)
}

// quoted holds the words of the format by how they are quoted.
var quoted = func() map[string]string {
	m := map[string]string{}
	for key := range fields {
		m[strconv.Quote(key)] = key
	}
	for typ := range must {
		m[strconv.Quote(string(typ))] = string(typ)
	}
	return m
}()

// unquote returns the text of a string as it stands. The words of the format, which
// are most of a listing, are not allocated.
func (c *cursor) unquote(v []byte) (s string, err error) {
	if word, ok := quoted[string(v)]; ok {
		return word, nil
	}
	if bytes.IndexByte(v, '\\') < 0 && utf8.Valid(v) {
		return string(v[1 : len(v)-1]), nil
	}
	err = json.Unmarshal(v, &s)
	return s, err
}

// integer reads a number that is an integer and not negative.
func (c *cursor) integer(key string) (int64, error) {
	v := c.value()
	n, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q cannot be %.40s", key, v)
	}
	return int64(n), nil
}

// boolean reads true or false.
func (c *cursor) boolean(key string) (bool, error) {
	switch v := c.value(); string(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, fmt.Errorf("%q cannot be %.40s", key, v)
	}
}

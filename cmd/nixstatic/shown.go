package main

import (
	"strconv"
	"strings"
)

// shown is a name from outside as a person may see it: what cannot be seen, or would
// steer a terminal or turn the direction of text around, is written as an escape, and so is
// a backslash.
func shown(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// helpHint tells where a command is explained.
func helpHint(command string) string {
	switch command {
	case "":
		command = "nixstatic COMMAND"
	case "nixstatic":
		return "nixstatic help lists the commands"
	}
	return command + " --help explains it, with examples"
}

// noCommand refuses a word that stands where the name of a command is wanted.
func noCommand(parent string, commands []*cli.Command, word string) error {
	var names []string
	for _, c := range visible(commands) {
		names = append(names, c.Names()...)
	}
	of := ""
	if parent != "nixstatic" {
		of = " of " + strings.TrimPrefix(parent, "nixstatic ")
	}
	err := usage("there is no command %q%s", word, of)
	if near := nearest(word, names); near != "" {
		return withHint(err, "did you mean %s %s? nixstatic help lists the commands", parent, near)
	}
	return withHint(err, "%s --help lists the commands", parent)
}

// notNumber words the end of an error of the library. All its flags of numbers are whole.
var notNumber = strings.NewReplacer(": parse error", ": want a whole number", ": value out of range", ": that is too large")

var (
	undefinedFlag = regexp.MustCompile(`^flag provided but not defined: --?(.*)$`)
	plainWord     = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)
	oneDash       = regexp.MustCompile(`(^|\s)-([A-Za-z][A-Za-z0-9-]+)`)
)

// mistyped words an error of the library about flags: names get their two dashes,
// and a name that does not exist the one that is likely meant.
func mistyped(command string, flags []cli.Flag, err error) error {
	m := undefinedFlag.FindStringSubmatch(err.Error())
	if m == nil {
		text := oneDash.ReplaceAllString(err.Error(), "$1--$2")
		return &usageError{notNumber.Replace(text), command}
	}
	dashes := "--"
	if len(m[1]) == 1 {
		dashes = "-"
	}
	wrong := &usageError{fmt.Sprintf("%s has no flag %s%s", command, dashes, m[1]), command}
	var names []string
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				names = append(names, name)
			}
		}
	}
	if near := nearest(m[1], names); near != "" {
		return withHint(wrong, "did you mean --%s? %s", near, helpHint(command))
	}
	return wrong
}

// nearestCommand returns the command that a word stands for which is not an
// argument: that of a command with arguments and commands of its own.
func nearestCommand(c *cli.Command, word string) string {
	var names []string
	for _, sub := range visible(c.Subcommands) {
		names = append(names, sub.Names()...)
	}
	if near := nearest(word, names); near != "" {
		return fullName(c) + " " + near
	}
	return ""
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// nearest returns the name that a mistyped word most likely stands for, or "".
func nearest(word string, names []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, name := range names {
		d := distance(strings.ToLower(word), name)
		if len(word) > 2 && strings.HasPrefix(name, word) {
			d = 1
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace or swap with the next one
// that make one word of another.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var rows [65][65]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			default:
				d := min(rows[i-1][j], rows[i][j-1]) + 1
				replace := rows[i-1][j-1]
				if a[i-1] != b[j-1] {
					replace++
				}
				d = min(d, replace)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					d = min(d, rows[i-2][j-2]+1)
				}
				rows[i][j] = d
			}
		}
	}
	return rows[len(a)][len(b)]
}

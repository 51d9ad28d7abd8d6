package nixconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// NetrcFiles returns where netrc files usually are, in the order in which they are
// asked.
func NetrcFiles() []string {
	var files []string
	if name := os.Getenv("NETRC"); name != "" {
		files = append(files, name)
	}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".netrc"))
	}
	conf := os.Getenv("NIX_CONF_DIR")
	if conf == "" {
		conf = "/etc/nix"
	}
	return append(files, filepath.Join(conf, "netrc"))
}

// ReadNetrc reads a netrc file of at most one MiB.
func ReadNetrc(name string) (string, error) {
	text, err := readFile(name)
	return string(text), err
}

// A Login is what netrc has for a host. Its fields are secrets.
type Login struct{ Name, Password string }

// LookupNetrc returns the first entry for host, or the default entry; with a
// login only an entry that has it, or none, counts. A password alone is fine:
// Cachix gives out such files. The format is curl's, which Nix reads it with.
func LookupNetrc(text, host, login string) (entry Login, ok bool, err error) {
	var current Login
	matches := false // the entry being read is for host
	take := func() bool {
		fits := matches && (login == "" || current.Name == "" || current.Name == login)
		if fits && current.Name == "" {
			current.Name = login
		}
		return fits
	}
	tokens := netrcTokens{rest: text}
	for {
		word, more, err := tokens.next()
		if err != nil {
			return entry, false, err
		}
		if !more {
			return current, take(), nil
		}
		switch word {
		case "machine", "default":
			if take() {
				return current, true, nil
			}
			current, matches = Login{}, true
			if word == "machine" {
				name, _, err := tokens.next()
				if err != nil {
					return entry, false, err
				}
				matches = strings.EqualFold(name, host)
			}
		case "login", "password", "account":
			value, more, err := tokens.next()
			if err == nil && !more {
				err = fmt.Errorf("%s at the end of the file", word)
			}
			if err != nil {
				return entry, false, err
			}
			switch word {
			case "login":
				current.Name = value
			case "password":
				current.Password = value
			}
		case "macdef":
			tokens.skipMacro()
		}
	}
}

// netrcTokens splits a netrc file into words.
type netrcTokens struct {
	rest   string
	inLine bool // a word of the present line was read
}

func (t *netrcTokens) next() (word string, ok bool, err error) {
	for t.rest != "" {
		switch c := t.rest[0]; {
		case c == '\n':
			t.inLine = false
			t.rest = t.rest[1:]
		case c == ' ' || c == '\t' || c == '\r':
			t.rest = t.rest[1:]
		case c == '#' && !t.inLine: // elsewhere it is part of a password
			_, t.rest, _ = strings.Cut(t.rest, "\n")
		case c == '"':
			t.inLine = true
			return t.quoted()
		default:
			t.inLine = true
			end := strings.IndexAny(t.rest, " \t\r\n")
			if end < 0 {
				end = len(t.rest)
			}
			word, t.rest = t.rest[:end], t.rest[end:]
			return word, true, nil
		}
	}
	return "", false, nil
}

func (t *netrcTokens) quoted() (string, bool, error) {
	var b strings.Builder
	for i := 1; i < len(t.rest); i++ {
		c := t.rest[i]
		switch {
		case c == '"':
			t.rest = t.rest[i+1:]
			return b.String(), true, nil
		case c == '\\' && i+1 < len(t.rest):
			i++
			if at := strings.IndexByte("nrt", t.rest[i]); at >= 0 {
				b.WriteByte("\n\r\t"[at])
			} else {
				b.WriteByte(t.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false, errors.New("a quotation mark is never closed")
}

// skipMacro passes over a macro, which ends at an empty line.
func (t *netrcTokens) skipMacro() {
	_, t.rest, _ = strings.Cut(t.rest, "\n\n")
	t.inLine = false
}

// NetrcLine returns the entry for a host, on one line.
func NetrcLine(host string, l Login) string {
	return fmt.Sprintf("machine %s login %s password %s", quoteNetrc(host), quoteNetrc(l.Name), quoteNetrc(l.Password))
}

// quoteNetrc writes a word as netrc wants it.
func quoteNetrc(word string) string {
	if word != "" && strings.IndexFunc(word, func(c rune) bool {
		return c <= ' ' || c == '"' || c == '#' || c == '\\' || c == 0x7f
	}) < 0 {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(word) + `"`
}

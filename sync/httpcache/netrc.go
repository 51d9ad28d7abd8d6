package httpcache

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// maxNetrc bounds a netrc file in bytes.
const maxNetrc = 1 << 20

// findCredentials returns the Authorization header for the cache at base: what
// its URL says, or else netrc. "" if there is nothing to say. A file at a usual
// place that cannot be read is passed over, and unread says why: it matters only
// where a server wants a password.
func findCredentials(base *url.URL, user *url.Userinfo, file string) (auth string, unread, err error) {
	if password, ok := user.Password(); ok {
		return basic(user.Username(), password), nil, nil
	}
	files, wanted := netrcFiles(), false
	if file != "" {
		files, wanted = []string{file}, true
	}
	for _, name := range files {
		text, err := readNetrc(name)
		// The files at the usual places were not asked for, and the one beside
		// nix.conf is often for root alone.
		if !wanted && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			continue
		}
		var entry netrcEntry
		var ok bool
		if err != nil {
			err = fmt.Errorf("read netrc: %w", err)
		} else if entry, ok, err = lookupNetrc(text, base.Hostname(), user.Username()); err != nil {
			err = fmt.Errorf("read netrc %s: %w", name, err)
		}
		switch {
		case err != nil && wanted:
			return "", nil, err
		case err != nil:
			unread = errors.Join(unread, err)
		case ok:
			return basic(entry.login, entry.password), nil, nil
		}
	}
	if name := user.Username(); name != "" {
		return basic(name, ""), unread, nil
	}
	return "", unread, nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func netrcFiles() []string {
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

func readNetrc(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNetrc+1))
	if err == nil && len(text) > maxNetrc {
		err = fmt.Errorf("%s: more than %d bytes", name, maxNetrc)
	}
	return string(text), err
}

type netrcEntry struct{ login, password string }

// lookupNetrc returns the first entry for host, or the default entry; with a
// login only an entry that has it, or none, counts. A password alone is fine:
// Cachix gives out such files. The format is curl's, which Nix reads it with.
func lookupNetrc(text, host, login string) (entry netrcEntry, ok bool, err error) {
	var current netrcEntry
	matches := false // the entry being read is for host
	take := func() bool {
		fits := matches && (login == "" || current.login == "" || current.login == login)
		if fits && current.login == "" {
			current.login = login
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
			current, matches = netrcEntry{}, true
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
				current.login = value
			case "password":
				current.password = value
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

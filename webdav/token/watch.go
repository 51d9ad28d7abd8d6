package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nixstatic/nixstatic/layout"

	"github.com/nixstatic/nixstatic/webdav"
)

// A File is a token file that is read again when it changes, so that a token that is
// revoked is refused at the next request. A file that is broken, or gone, is an error in the log, and its
// last good content stays in force: a slip of an editor does not lock people out. To revoke
// all tokens, empty the file.
type File struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	tokens  []Token              // never changed in place
	version string               // of the file; "" if it is not there
	used    map[string]time.Time // since it was written down last
}

// OpenFile reads the token file at path. A missing file counts as
// one without tokens until it is made; log (nil for slog.Default()) is told.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.Default()
	}
	f := &File{path: path, log: log}
	f.version = f.stat()
	tokens, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		log.Warn("there is no token file yet", "file", path)
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	f.tokens = tokens
	return f, nil
}

// Len returns the number of tokens, expired ones included.
func (f *File) Len() int { return len(f.current()) }

// Holders returns the names of the tokens that are good for a scope now.
func (f *File) Holders(need webdav.Scope) []string {
	now := time.Now()
	var names []string
	for _, t := range f.current() {
		if t.Allows(need) && !t.Expired(now) {
			names = append(names, t.Name)
		}
	}
	return names
}

// find returns the token that a secret belongs to. The time it takes depends on
// the number of tokens alone.
func (f *File) find(secret string) (Token, bool) {
	tokens := f.current()
	hash := sha256.Sum256([]byte(secret))
	found := -1
	for i := range tokens {
		same := subtle.ConstantTimeCompare(tokens[i].Hash[:], hash[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return Token{}, false
	}
	return tokens[found], true
}

func (f *File) current() []Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The version comes before the text: a change in between shows next time.
	version := f.stat()
	if version == f.version {
		return f.tokens
	}
	f.version = version
	tokens, err := Read(f.path)
	if err != nil {
		f.log.Error("the tokens stay as they were", "file", f.path, "err", err)
		return f.tokens
	}
	f.log.Info("tokens read", "file", f.path, "tokens", len(tokens))
	f.tokens = tokens
	return f.tokens
}

func (f *File) stat() string {
	info, err := os.Stat(f.path)
	if err != nil {
		return ""
	}
	return layout.FileVersion(info)
}

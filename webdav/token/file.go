package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
)

const (
	tokenPrefix = "nst_" // so that scanners for leaked secrets know one
	tokenBytes  = 32

	maxTokenFile = 1 << 20 // bytes
	maxTokens    = 5_000   // all are compared at each request that shows one
)

// A Token is what a token file says of a secret: who has it, and what for.
//
// The file keeps the SHA-256 of the secret. A slow hash is not needed: a secret
// is 32 random bytes, not a password that could be guessed.
//
// A file has one token a line, in any order, with fields parted by blanks:
//
//	# who          what for      the secret's hash     until when
//	ci             upload        sha256:<64 hex>
//	alice          read,upload   sha256:<64 hex>       until=2027-01-31T00:00:00Z
//	acme-ci        upload        sha256:<64 hex>       root=acme/*
//
// Empty lines and those that begin with # mean nothing.
type Token struct {
	Name   string // letters, digits and ._@+-: unique in its file
	Scopes []webdav.Scope
	Hash   [sha256.Size]byte
	Until  time.Time // the first moment at which it is good no more; zero: for ever
	// Roots are those that it may upload to, at their URLs alone; none: to all, and
	// without a root.
	Roots []layout.RootPattern
}

// New makes a token, and the secret that belongs to it, which is kept
// nowhere.
func New(name string, scopes []webdav.Scope, until time.Time, roots ...layout.RootPattern) (t Token, secret string, err error) {
	if err := checkTokenName(name); err != nil {
		return Token{}, "", err
	}
	if len(scopes) == 0 {
		return Token{}, "", fmt.Errorf("token %s: no scope", name)
	}
	var raw [tokenBytes]byte
	rand.Read(raw[:]) // never fails
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return Token{name, scopes, sha256.Sum256([]byte(secret)), until.UTC().Truncate(time.Second), roots}, secret, nil
}

// Allows reports whether the token is good for a scope. It does not ask whether the
// token has expired.
func (t *Token) Allows(need webdav.Scope) bool {
	return slices.ContainsFunc(t.Scopes, func(s webdav.Scope) bool { return s >= need })
}

// Expired reports whether the token is good no more.
func (t *Token) Expired(now time.Time) bool { return !t.Until.IsZero() && !now.Before(t.Until) }

// String returns the line of the file.
func (t Token) String() string {
	line := fmt.Sprintf("%s %s sha256:%x", t.Name, t.ScopeList(), t.Hash)
	if !t.Until.IsZero() {
		line += " until=" + t.Until.Format(time.RFC3339)
	}
	if len(t.Roots) > 0 {
		line += " root=" + t.RootList()
	}
	return line
}

// RootList returns the patterns of roots parted by commas.
func (t *Token) RootList() string {
	words := make([]string, len(t.Roots))
	for i, p := range t.Roots {
		words[i] = string(p)
	}
	return strings.Join(words, ",")
}

// MayKeep reports whether the token may upload for a run; a nil run is an upload that
// names none.
func (t *Token) MayKeep(run *layout.RunID) bool {
	return len(t.Roots) == 0 || run != nil && slices.ContainsFunc(t.Roots, func(p layout.RootPattern) bool { return p.MatchRun(*run) })
}

// ParseRoots reads patterns of roots parted by commas.
func ParseRoots(text string) ([]layout.RootPattern, error) {
	var roots []layout.RootPattern
	for word := range strings.SplitSeq(text, ",") {
		p, err := layout.ParseRootPattern(word)
		if err != nil {
			return nil, err
		}
		roots = append(roots, p)
	}
	return roots, nil
}

// ScopeList returns the scopes parted by commas.
func (t *Token) ScopeList() string {
	words := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		words[i] = s.String()
	}
	return strings.Join(words, ",")
}

// ParseScopes reads scopes parted by commas.
func ParseScopes(text string) ([]webdav.Scope, error) {
	var scopes []webdav.Scope
	for word := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc([]webdav.Scope{webdav.Read, webdav.Upload, webdav.Admin}, func(s webdav.Scope) bool { return s.String() == word })
		if i < 0 {
			return nil, fmt.Errorf("scope %.40q: choose of read, upload, admin", word)
		}
		if !slices.Contains(scopes, webdav.Scope(i)) {
			scopes = append(scopes, webdav.Scope(i))
		}
	}
	return scopes, nil
}

// Parse reads a token file. Errors name the line and never quote what
// could be a secret.
func Parse(text []byte) ([]Token, error) {
	if len(text) > maxTokenFile {
		return nil, fmt.Errorf("token file of more than %d bytes", maxTokenFile)
	}
	var tokens []Token
	seen := map[string]int{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := strings.Fields(string(line))
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		t, err := parseToken(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if before := seen[t.Name]; before != 0 {
			return nil, fmt.Errorf("line %d: the name %s is that of line %d", number, t.Name, before)
		}
		seen[t.Name] = number
		if tokens = append(tokens, t); len(tokens) > maxTokens {
			return nil, fmt.Errorf("line %d: more than %d tokens", number, maxTokens)
		}
	}
	return tokens, nil
}

func parseToken(fields []string) (t Token, err error) {
	if len(fields) < 3 || len(fields) > 5 {
		return t, fmt.Errorf("fields: %d; want NAME SCOPES sha256:HEX [until=TIME] [root=PATTERNS]", len(fields))
	}
	if err := checkTokenName(fields[0]); err != nil {
		return t, err
	}
	t.Name = fields[0]
	if t.Scopes, err = ParseScopes(fields[1]); err != nil {
		return t, err
	}
	digits, ok := strings.CutPrefix(fields[2], "sha256:")
	if n, err := hex.Decode(t.Hash[:], []byte(digits[:min(len(digits), 2*sha256.Size)])); !ok || err != nil ||
		n != sha256.Size || len(digits) != 2*sha256.Size {
		return t, fmt.Errorf("token %s: the third field is not sha256: and 64 hexadecimal digits", t.Name)
	}
	for _, field := range fields[3:] {
		if list, ok := strings.CutPrefix(field, "root="); ok && t.Roots == nil {
			if t.Roots, err = ParseRoots(list); err != nil {
				return t, fmt.Errorf("token %s: %w", t.Name, err)
			}
			continue
		}
		until, ok := strings.CutPrefix(field, "until=")
		again := !t.Until.IsZero()
		if t.Until, err = time.Parse(time.RFC3339, until); !ok || err != nil || t.Until.IsZero() || again {
			return t, fmt.Errorf("token %s: what follows the hash is neither until= and a time such as 2027-01-31T00:00:00Z nor root= and a pattern", t.Name)
		}
		t.Until = t.Until.UTC()
	}
	return t, nil
}

func checkTokenName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("token name of %d bytes: want 1 to 64", len(name))
	}
	if strings.HasPrefix(name, tokenPrefix) {
		return fmt.Errorf("a token name that begins with %s: that is how secrets begin", tokenPrefix)
	}
	for _, c := range []byte(name) {
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && strings.IndexByte("._@+-", c) < 0 {
			return fmt.Errorf("a token name with %q: only letters, digits and ._@+- are allowed", c)
		}
	}
	return nil
}

// isSecret reports whether text has the form of a token's secret.
func isSecret(text string) bool {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return false
	}
	_, err := base64.RawURLEncoding.DecodeString(rest)
	return err == nil
}

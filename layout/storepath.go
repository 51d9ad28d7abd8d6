package layout

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultStoreDir is the store directory of nearly every Nix.
const DefaultStoreDir = "/nix/store"

const (
	hashLen = 32  // nix32 characters of a store path's hash: 160 bits
	nameMax = 211 // Nix's limit on the name, so that file names with suffixes stay below 255
)

// Nix32Digits are the digits of Nix's base 32: no e, o, t, u.
const Nix32Digits = "0123456789abcdfghijklmnpqrsvwxyz"

// A StorePath is a store path without its store directory: "<hash>-<name>".
// Only ParseStorePath and ParseAbsStorePath make one from text.
type StorePath string

// ParseStorePath reads a base name, as narinfo's References have it.
func ParseStorePath(base string) (StorePath, error) {
	if len(base) < hashLen+2 {
		return "", fmt.Errorf("store path %.100q: too short for <hash>-<name>", base)
	}
	if err := checkHash(base[:hashLen]); err != nil {
		return "", fmt.Errorf("store path %.300q: %w", base, err)
	}
	if base[hashLen] != '-' {
		return "", fmt.Errorf("store path %.300q: no dash after the hash", base)
	}
	if err := CheckName(base[hashLen+1:]); err != nil {
		return "", fmt.Errorf("store path %.300q: %w", base, err)
	}
	return StorePath(base), nil
}

// ParseAbsStorePath reads an absolute store path directly below storeDir.
func ParseAbsStorePath(storeDir, path string) (StorePath, error) {
	base, ok := strings.CutPrefix(path, storeDir+"/")
	if !ok {
		return "", fmt.Errorf("store path %.300q: not below %s", path, storeDir)
	}
	return ParseStorePath(base)
}

// Hash returns the 32 characters that name the path's narinfo.
func (p StorePath) Hash() string { return string(p[:hashLen]) }

// Name returns what follows the hash and the dash.
func (p StorePath) Name() string { return string(p[hashLen+1:]) }

// Abs returns the absolute path below storeDir.
func (p StorePath) Abs(storeDir string) string { return storeDir + "/" + string(p) }

// IsDerivation reports whether p is a store derivation.
func (p StorePath) IsDerivation() bool { return strings.HasSuffix(string(p), ".drv") }

// CheckName reports why name cannot be the name part of a store path. The
// characters and the length are Nix's rule; that a name is not "." or ".." nor
// begins with them and a dash is newer Nix's, which older ones do not miss.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > nameMax:
		return fmt.Errorf("the name has %d bytes, more than %d", len(name), nameMax)
	case name == "." || name == ".." || strings.HasPrefix(name, ".-") || strings.HasPrefix(name, "..-"):
		return fmt.Errorf("the name %q may not be or begin with a dot component", name)
	}
	for _, c := range []byte(name) {
		if !isNameByte(c) {
			return fmt.Errorf("the name has %q; only letters, digits and +-._?= are allowed", c)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+-._?=", c) >= 0
}

func checkHash(s string) error {
	if len(s) != hashLen {
		return fmt.Errorf("the hash has %d characters, not %d", len(s), hashLen)
	}
	return checkNix32(s)
}

// isNix32 has the characters of nix32: every key that is met is looked at.
var isNix32 = func() (is [256]bool) {
	for _, c := range []byte(Nix32Digits) {
		is[c] = true
	}
	return is
}()

func checkNix32(s string) error {
	for i := range len(s) {
		if !isNix32[s[i]] {
			return fmt.Errorf("%q is no character of Nix's base 32", s[i])
		}
	}
	return nil
}

// CheckStoreDir reports why dir cannot be a store directory: clients compare
// it byte for byte, so it has to be absolute and clean.
func CheckStoreDir(dir string) error {
	if !strings.HasPrefix(dir, "/") || dir == "/" || len(dir) > 1024 {
		return fmt.Errorf("store directory %.300q: want an absolute path such as %s", dir, DefaultStoreDir)
	}
	for part := range strings.SplitSeq(dir[1:], "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\n\r ") {
			return fmt.Errorf("store directory %.300q: has an empty, dot or blank component", dir)
		}
	}
	if !utf8.ValidString(dir) || strings.ContainsFunc(dir, func(r rune) bool { return !unicode.IsPrint(r) }) {
		// It stands before every path that is shown to a person.
		return fmt.Errorf("store directory %.300q: has characters that cannot be seen", dir)
	}
	return nil
}

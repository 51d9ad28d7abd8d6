package layout

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

// A Hash is a SHA-256, the one algorithm that Nix uses for NarHash and
// FileHash.
type Hash [sha256.Size]byte

// narHashLen is the length of a SHA-256 in nix32.
const narHashLen = 52

// errOtherHash says that a hash is not a SHA-256.
var errOtherHash = errors.New("not a SHA-256")

// ParseHash reads "sha256:" followed by nix32, hexadecimal or base64, or the
// SRI form "sha256-…": all that Nix accepts in a narinfo.
func ParseHash(text string) (Hash, error) {
	var h Hash
	algo, digest, _ := strings.Cut(text, ":")
	sri := false
	if digest == "" {
		algo, digest, sri = strings.Cut(text, "-")
	}
	switch {
	case algo == text:
		return h, fmt.Errorf("hash %.100q: want sha256:…", text)
	case algo != "sha256":
		return h, fmt.Errorf("hash %.100q: %w", text, errOtherHash)
	case sri:
		// Nix reads to the padding, which is optional, and passes over options.
		digest, _, _ = strings.Cut(digest, "=")
		digest += "="
	case len(digest) > 2*len(h):
		return h, fmt.Errorf("hash %.60q…: too long for a SHA-256", text)
	}
	parsed, err := nixhash.ParseAny("sha256:"+digest, nil)
	if err != nil || len(parsed.Digest()) != len(h) { // base64 may hold a byte too much
		return Hash{}, fmt.Errorf("hash %.100q: malformed", text)
	}
	return Hash(parsed.Digest()), nil
}

// parseNix32Hash reads the bare 52 characters that name a NAR file.
func parseNix32Hash(text string) (Hash, error) {
	var h Hash
	if len(text) != narHashLen {
		return h, fmt.Errorf("hash %.60q: want %d characters", text, narHashLen)
	}
	raw, err := nixbase32.DecodeString(text)
	if err != nil {
		return h, fmt.Errorf("hash %q: malformed", text)
	}
	copy(h[:], raw)
	return h, nil
}

// Nix32 returns the 52 characters.
func (h Hash) Nix32() string { return nixbase32.EncodeToString(h[:]) }

// String returns "sha256:" and the 52 characters.
func (h Hash) String() string { return "sha256:" + h.Nix32() }

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

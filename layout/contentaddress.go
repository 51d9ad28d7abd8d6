package layout

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

// How the content of a content-addressed path is hashed.
const (
	HashText = "text" // a file made by builtins.toFile, or a derivation; may have references
	HashFlat = "flat" // the bytes of one file
	HashNAR  = "nar"  // the NAR
	HashGit  = "git"  // a git tree or blob, experimental in Nix
)

// A ContentAddress is the parsed CA field of a narinfo:
// "text:sha256:<nix32>", "fixed:<algo>:<nix32>" (flat), "fixed:r:<algo>:<nix32>"
// (NAR) or "fixed:git:<algo>:<nix32>". Format: content-address.cc in Nix.
type ContentAddress struct {
	Method string // one of the Hash constants
	Algo   string // md5, sha1, sha256, sha512
	Digest []byte
}

// ParseContentAddress reads a CA field.
func ParseContentAddress(text string) (ContentAddress, error) {
	if len(text) > 300 {
		return ContentAddress{}, errors.New("content address of more than 300 bytes")
	}
	ca := ContentAddress{}
	rest, ok := strings.CutPrefix(text, "text:")
	if ok {
		ca.Method = HashText
	} else if rest, ok = strings.CutPrefix(text, "fixed:r:"); ok {
		ca.Method = HashNAR
	} else if rest, ok = strings.CutPrefix(text, "fixed:git:"); ok {
		ca.Method = HashGit
	} else if rest, ok = strings.CutPrefix(text, "fixed:"); ok {
		ca.Method = HashFlat
	} else {
		return ca, fmt.Errorf("content address %q: want text:… or fixed:…", text)
	}
	algo, _, _ := strings.Cut(rest, ":")
	if newHash(algo) == nil {
		return ca, fmt.Errorf("content address %q: unknown hash algorithm", text)
	}
	parsed, err := nixhash.ParseAny(rest, nil)
	if err != nil {
		return ca, fmt.Errorf("content address %q: malformed hash", text)
	}
	ca.Algo, ca.Digest = algo, parsed.Digest()
	if ca.Method == HashText && ca.Algo != "sha256" {
		return ca, fmt.Errorf("content address %q: text is hashed by sha256 alone", text)
	}
	return ca, nil
}

// String returns the CA field.
func (c ContentAddress) String() string {
	prefix := map[string]string{HashText: "text:", HashFlat: "fixed:", HashNAR: "fixed:r:", HashGit: "fixed:git:"}[c.Method]
	return prefix + c.Algo + ":" + nixbase32.EncodeToString(c.Digest)
}

// NewDigest returns the hash function of the address.
func (c ContentAddress) NewDigest() hash.Hash { return newHash(c.Algo) }

func newHash(algo string) hash.Hash {
	switch algo {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// Path returns the store path that the address leads to, for a name and
// references; self says that the path refers to itself, in which case refs
// leaves it out. Source: makeStorePath and makeFixedOutputPath in Nix.
func (c ContentAddress) Path(storeDir, name string, refs []StorePath, self bool) (StorePath, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	var kind, inner string
	switch {
	case c.Method == HashText && !self:
		kind, inner = "text", "sha256:"+hex.EncodeToString(c.Digest)
	case c.Method == HashNAR && c.Algo == "sha256":
		kind, inner = "source", "sha256:"+hex.EncodeToString(c.Digest)
	case (c.Method == HashFlat || c.Method == HashNAR || c.Method == HashGit) && len(refs) == 0 && !self:
		mode := map[string]string{HashFlat: "", HashNAR: "r:", HashGit: "git:"}[c.Method]
		sum := sha256.Sum256([]byte("fixed:out:" + mode + c.Algo + ":" + hex.EncodeToString(c.Digest) + ":"))
		return makeStorePath(storeDir, "output:out", "sha256:"+hex.EncodeToString(sum[:]), name), nil
	default:
		return "", fmt.Errorf("content address %s: may not have references", c)
	}
	if !slices.IsSorted(refs) {
		refs = slices.Sorted(slices.Values(refs))
	}
	var b strings.Builder
	b.WriteString(kind)
	for _, ref := range refs {
		b.WriteString(":" + ref.Abs(storeDir))
	}
	if self {
		b.WriteString(":self")
	}
	return makeStorePath(storeDir, b.String(), inner, name), nil
}

func makeStorePath(storeDir, kind, inner, name string) StorePath {
	sum := sha256.Sum256([]byte(kind + ":" + inner + ":" + storeDir + ":" + name))
	return StorePath(nixbase32.EncodeToString(nixhash.CompressHash(sum[:], 20)) + "-" + name)
}

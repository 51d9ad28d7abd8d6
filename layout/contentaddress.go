package layout

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
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
	Algo   string // md5, sha1, sha256, sha512, blake3
	Digest []byte
}

// ErrUnknownAddress says that a content address is of a method or by an algorithm
// that is not known here. Another program may know it; here it proves nothing.
var ErrUnknownAddress = errors.New("content address of an unknown kind")

// ParseContentAddress reads a CA field. The error is ErrUnknownAddress for one
// that may be right and cannot be understood.
func ParseContentAddress(text string) (ContentAddress, error) {
	ca := ContentAddress{}
	if len(text) > 400 || !addressShape.MatchString(text) {
		return ca, fmt.Errorf("content address %.100q: malformed", text)
	}
	rest, ok := strings.CutPrefix(text, "text:")
	if ok {
		ca.Method = HashText
	} else if rest, ok = strings.CutPrefix(text, "fixed:r:"); ok {
		ca.Method = HashNAR
	} else if rest, ok = strings.CutPrefix(text, "fixed:git:"); ok {
		ca.Method = HashGit
	} else if rest, ok = strings.CutPrefix(text, "fixed:"); ok {
		ca.Method = HashFlat
	}
	algo, digest, _ := strings.Cut(rest, ":")
	like := algo
	if algo == "blake3" {
		like = "sha256" // which has as many bytes
	}
	switch {
	case ca.Method == "", newHash(like) == nil:
		return ContentAddress{}, fmt.Errorf("%w: %s", ErrUnknownAddress, text)
	case ca.Method == HashText && algo != "sha256":
		// Newer Nix reads it (2.26 does, 2.8 does not), and no version makes a store path of it.
		return ContentAddress{}, fmt.Errorf("%w: %s: text is hashed by sha256 alone", ErrUnknownAddress, text)
	}
	parsed, err := nixhash.ParseAny(like+":"+digest, nil)
	if err != nil || len(parsed.Digest()) != newHash(like).Size() { // base64 may hold a byte too much
		return ContentAddress{}, fmt.Errorf("content address %s: malformed hash", text)
	}
	ca.Algo, ca.Digest = algo, parsed.Digest()
	return ca, nil
}

// addressShape is that of every content address: a method, an algorithm and a
// digest in one word. It has no counted repetition, which would cost every start
// of the program half a millisecond.
var addressShape = regexp.MustCompile(`^[a-z0-9-]+(:[a-z0-9-]+)*:[A-Za-z0-9+/=]+$`)

// String returns the CA field.
func (c ContentAddress) String() string {
	prefix := map[string]string{HashText: "text:", HashFlat: "fixed:", HashNAR: "fixed:r:", HashGit: "fixed:git:"}[c.Method]
	return prefix + c.Algo + ":" + nixbase32.EncodeToString(c.Digest)
}

// NewDigest returns the hash function of the address, nil if it is not one that
// can be computed here.
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

// Provable reports whether the bytes of a path can prove the address here.
func (c ContentAddress) Provable() bool { return c.Method != HashGit && c.NewDigest() != nil }

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

// CheckAddress returns nil if the content address of a path leads to the path, as
// far as that can be told without the content, and if it has none. The error is
// ErrUnknownAddress for an address that proves nothing here.
func (i *PathInfo) CheckAddress(storeDir string) error {
	if i.CA == "" {
		return nil
	}
	ca, err := ParseContentAddress(i.CA)
	if err != nil {
		return err
	}
	p, self, err := i.addressed(ca, storeDir)
	switch {
	case err != nil:
		return err
	case p != i.Path:
		return fmt.Errorf("%s leads to %s, not to %s", i.CA, p, i.Path)
	case ca.Method == HashNAR && ca.Algo == "sha256" && !self && !bytes.Equal(ca.Digest, i.NarHash[:]):
		return fmt.Errorf("%s is not the hash of the NAR, %s", i.CA, i.NarHash)
	}
	return nil
}

// addressed returns the store path that an address leads to with the name and the
// references of i, and reports whether i refers to itself.
func (i *PathInfo) addressed(ca ContentAddress, storeDir string) (p StorePath, self bool, err error) {
	refs := slices.DeleteFunc(slices.Clone(i.References), func(ref StorePath) bool { return ref == i.Path })
	self = len(refs) < len(i.References)
	p, err = ca.Path(storeDir, i.Path.Name(), refs, self)
	return p, self, err
}

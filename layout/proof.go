package layout

import (
	"bytes"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/nixstatic/nixstatic/layout/nar"
)

// A Proof is what the bytes say to a claim of content-addressing.
type Proof int

// The outcomes.
const (
	Unclaimed Proof = iota // no content address, or one of a kind that is not computed here
	Proved                 // the bytes lead to the address, and the address to the path
	Refuted                // they do not
)

// A proof tells whether a content-addressed path is what its address says: the
// digest is computed from the bytes, and the store path from the digest. Such
// a path needs no signature.
type proof struct {
	nar.Discard
	want    ContentAddress
	info    *PathInfo
	dir     string
	nar     io.Writer // takes the NAR, if that is what is hashed
	content hash.Hash // takes the content of a single file otherwise
	sum     hash.Hash
	self    *zeroing
	not     bool // one regular file that is not executable, or nothing
}

// newProof returns nil if the address is of a kind that cannot be proved here.
func newProof(info *PathInfo, storeDir string) *proof {
	ca, err := ParseContentAddress(info.CA)
	if err != nil || !ca.Provable() {
		return nil
	}
	p := &proof{want: ca, info: info, dir: storeDir, sum: ca.NewDigest()}
	if ca.Method != HashNAR {
		p.content = p.sum
		return p
	}
	p.nar = p.sum
	if slices.Contains(info.References, info.Path) {
		p.self = &zeroing{w: p.sum, needle: []byte(info.Path.Hash())}
		p.nar = p.self
	}
	return p
}

// holds reports whether the bytes that went by prove the path.
//
// A path that refers to itself has two digests: Nix 2.17 to 2.34 leave out the
// positions of the references, by mistake, and believe only that; all others hash
// them. Either is proof, as each is to the clients of its time.
func (p *proof) holds() bool {
	if p.not {
		return false
	}
	got, _, err := p.info.addressed(p.want, p.dir)
	if err != nil || got != p.info.Path {
		return false
	}
	if p.self == nil {
		return bytes.Equal(p.sum.Sum(nil), p.want.Digest)
	}
	p.self.flush()
	if bytes.Equal(p.sum.Sum(nil), p.want.Digest) {
		return true
	}
	return p.self.positions() && bytes.Equal(p.sum.Sum(nil), p.want.Digest)
}

func (p *proof) Enter(string) error           { p.not = true; return nil }
func (p *proof) Symlink(string, string) error { p.not = true; return nil }
func (p *proof) Regular(_ string, executable bool, _, _ int64) error {
	p.not = p.not || executable
	return nil
}

func (p *proof) Content(b []byte) error {
	if !p.not {
		p.content.Write(b)
	}
	return nil
}

// maxSelfReferences bounds the memory that one NAR can claim: it is more than
// any path needs to tell where it is.
const maxSelfReferences = 1 << 20

// zeroing hashes a stream modulo self-references: in the place of each
// occurrence of the path's own hash stand zero bytes, and the positions are
// hashed at the end. Source: HashModuloSink in Nix.
type zeroing struct {
	w       io.Writer
	needle  []byte
	held    []byte // up to len(needle)-1 bytes that may begin an occurrence
	off     int64  // of held in the stream
	matches []int64
}

func (z *zeroing) Write(b []byte) (int, error) {
	buf := append(z.held, b...)
	for from := 0; ; {
		i := bytes.Index(buf[from:], z.needle)
		if i < 0 {
			break
		}
		from += i
		if len(z.matches) <= maxSelfReferences {
			z.matches = append(z.matches, z.off+int64(from))
		}
		clear(buf[from : from+len(z.needle)])
		from += len(z.needle)
	}
	keep := min(len(buf), len(z.needle)-1)
	z.w.Write(buf[:len(buf)-keep])
	z.off += int64(len(buf) - keep)
	z.held = slices.Clone(buf[len(buf)-keep:])
	return len(b), nil
}

// flush hashes what was held back: the stream has ended.
func (z *zeroing) flush() {
	z.w.Write(z.held)
	z.held = nil
}

// positions hashes where the references were; false if they are too many to tell.
func (z *zeroing) positions() bool {
	for _, at := range z.matches {
		fmt.Fprintf(z.w, "|%d", at)
	}
	return len(z.matches) <= maxSelfReferences
}

package layout

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"slices"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// A Packed is a NAR that went through the pass and waits in the spool.
type Packed struct {
	NarHash  Hash
	NarSize  int64
	Method   compress.Method
	FileHash Hash
	FileSize int64
	Depth    int // nodes inside one another; Nix 2.34 takes nar.CommonDepth at most
	// Proved says that the path has a content address, and that these bytes lead to
	// that path.
	Proved bool

	file    SpoolFile
	stored  bool // the NAR is at its key already, see Store
	listing Body
	spill   *spill
	debug   []DebugLink
	sole    *soleFile
}

// Discard releases what waits in the spool. After Add it does nothing.
func (p *Packed) Discard() {
	if p == nil {
		return
	}
	p.file.Discard()
	p.spill.discard()
}

// File is the compressed NAR in the spool. A Put of it into the tree that the
// spool belongs to moves it there.
func (p *Packed) File() SpoolFile { return p.file }

// Listing is the listing of the NAR, as the Writer writes it. A Put of it may
// move it, like File; to keep it, put a wrapped one.
func (p *Packed) Listing() Body { return p.listing }

// DebugLinks are the debug files in the NAR.
func (p *Packed) DebugLinks() []DebugLink { return p.debug }

// Prove puts the content address of a claim to the proof after the bytes have
// gone by. It can be proved if the address is the SHA-256 of the NAR without
// references to itself, or of the one file in it; for the latter the NAR must
// have been packed without a record. Otherwise known is false, and Inspect can
// tell.
func (p *Packed) Prove(claim *PathInfo, storeDir string) (outcome Proof, known bool) {
	if claim.CA == "" {
		return Unclaimed, true
	}
	ca, err := ParseContentAddress(claim.CA)
	if err != nil || !ca.Provable() {
		return Unclaimed, true // as Inspect has it
	}
	self := slices.Contains(claim.References, claim.Path)
	var got Hash
	switch {
	case ca.Algo != "sha256" || self:
		return Unclaimed, false
	case ca.Method == HashNAR:
		got = p.NarHash
	case p.sole == nil:
		return Unclaimed, false
	case p.sole.not:
		return Refuted, true
	default:
		got = Hash(p.sole.sum.Sum(nil))
	}
	path, err := ca.Path(storeDir, claim.Path.Name(), claim.References, false)
	if err != nil || path != claim.Path || !bytes.Equal(ca.Digest, got[:]) {
		return Refuted, true
	}
	return Proved, true
}

// soleFile is a visitor that hashes the content of a NAR that is one file and
// not executable: what text and flat content addresses are made from.
type soleFile struct {
	nar.Discard
	sum hash.Hash
	not bool // something else
}

func newSoleFile() *soleFile { return &soleFile{sum: sha256.New()} }

func (s *soleFile) Enter(string) error           { s.not = true; return nil }
func (s *soleFile) Symlink(string, string) error { s.not = true; return nil }

func (s *soleFile) Regular(_ string, executable bool, _, _ int64) error {
	s.not = s.not || executable
	return nil
}

func (s *soleFile) Content(b []byte) error {
	if !s.not {
		s.sum.Write(b)
	}
	return nil
}

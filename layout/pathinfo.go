package layout

import (
	"slices"
	"strconv"
	"strings"
)

// A PathInfo is what Nix knows of a valid store path. A source vouches for it;
// the Writer checks the parts that the bytes can prove.
type PathInfo struct {
	Path       StorePath
	NarHash    Hash
	NarSize    int64       // bytes of the uncompressed NAR
	References []StorePath // sorted; may hold Path itself
	Deriver    StorePath   // "" if unknown
	Sigs       []string    // "name:base64", as they came
	CA         string      // content address, "" for input-addressed paths
	// Extra are the lines of a record that mean nothing here: fields of later versions of
	// Nix or of other programs, such as Provenance, and signatures of other kinds than
	// Ed25519. They prove nothing, and are passed on.
	Extra []string
}

// Fingerprint returns the text that a signature covers. The references are
// sorted, whatever their order here. Format: ValidPathInfo::fingerprint in Nix,
// "1;path;narhash;narsize;ref,ref,…" with absolute paths.
func (i *PathInfo) Fingerprint(storeDir string) string {
	refs := i.References
	if !slices.IsSorted(refs) {
		refs = slices.Sorted(slices.Values(refs))
	}
	var b strings.Builder
	b.Grow(128 + len(refs)*(len(storeDir)+64))
	b.WriteString("1;")
	b.WriteString(i.Path.Abs(storeDir))
	b.WriteByte(';')
	b.WriteString(i.NarHash.String())
	b.WriteByte(';')
	b.WriteString(strconv.FormatInt(i.NarSize, 10))
	b.WriteByte(';')
	for n, ref := range refs {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString(storeDir)
		b.WriteByte('/')
		b.WriteString(string(ref))
	}
	return b.String()
}

// AddSigs adds signatures that are not there yet and keeps the order sorted,
// as Nix writes them.
func (i *PathInfo) AddSigs(sigs ...string) {
	all := append(slices.Clone(i.Sigs), sigs...)
	slices.Sort(all)
	i.Sigs = slices.Compact(all)
}

// SameContent reports whether two records describe the same path with the same
// content: what a signature covers is equal.
func (i *PathInfo) SameContent(o *PathInfo) bool {
	return i.Path == o.Path && i.NarHash == o.NarHash && i.NarSize == o.NarSize && slices.Equal(i.References, o.References)
}

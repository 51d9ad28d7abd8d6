package inbox

import (
	"cmp"
	"maps"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// A decision is what becomes of a record.
type decision struct {
	refusal error  // why it is not taken
	needs   []need // what has to be there first

	// narInfo is what is to be written: with what the record leaves out.
	narInfo layout.NarInfo
	merge   bool // its signatures are added to the one that is there
	vouch   bool // and ours
}

// decide says what becomes of a record. It depends on nothing but its arguments.
//
// To sign is to vouch: our signatures are added to a record only if what it says
// was compared with the bytes.
func decide(r *record, f *facts, requireSignature bool) decision {
	if f.leads {
		if !f.have.SameContent(&r.PathInfo) {
			return decision{refusal: conflict(r)}
		}
		vouch := f.known != nil && f.known.narHash == r.NarHash && f.known.narSize == r.NarSize
		return decision{refusal: f.wrong(), narInfo: *r.NarInfo, merge: true, vouch: vouch}
	}
	switch f.nar {
	case narUnseen:
		return decision{needs: f.missing}
	case narAbsent, narDamaged:
		return decision{needs: append([]need{{key: r.nar, damaged: f.nar == narDamaged}}, f.missing...)}
	}
	n, err := complete(r, f.known)
	switch {
	case err != nil:
	case f.proof == layout.Refuted:
		err = refuse(WrongCA, "wrong CA: %.100s is not what the bytes of %.100s hash to", r.CA, r.Path)
	case requireSignature && !r.trusted && f.proof != layout.Proved:
		err = untrusted(r)
	case len(f.missing) > 0:
		return decision{needs: f.missing}
	default:
		err = f.wrong()
	}
	return decision{refusal: err, narInfo: n, vouch: true}
}

// wrong returns what is wrong with what was sent ahead of the record, the first
// of it in the order of the keys.
func (f *facts) wrong() error {
	var first error
	for _, key := range slices.Sorted(maps.Keys(f.sent)) {
		first = cmp.Or(first, f.sent[key].wrong)
	}
	return first
}

// complete refuses a narinfo that says something else than is true of its NAR,
// and completes one that says less: Nix from 2.35 may leave out the file's hash
// and size, and Nix up to 2.34 cannot do without.
func complete(r *record, known *receipt) (layout.NarInfo, error) {
	n := *r.NarInfo
	differs := func(field string, says, is any) (layout.NarInfo, error) {
		return n, refuse(NARDiffers, "NAR differs: the narinfo of %.80s says %s %v, and it is %v", r.Path, field, says, is)
	}
	switch {
	case n.NarHash != known.narHash:
		return differs("NarHash", n.NarHash, known.narHash)
	case n.NarSize != known.narSize:
		return differs("NarSize", n.NarSize, known.narSize)
	case n.FileSize != 0 && n.FileSize != known.object.Size:
		return differs("FileSize", n.FileSize, known.object.Size)
	case n.Compression != known.method:
		return differs("Compression", n.Compression, known.method)
	}
	n.FileSize = known.object.Size
	n.FileHash, _ = r.nar.FileHash() // that it is the hash was read before
	return n, nil
}

func conflict(r *record) error {
	return refuse(Conflict, "conflict: this cache has %.100s with other content, which stays; the build may not be reproducible", r.Path)
}

func untrusted(r *record) error {
	return refuse(Untrusted, "untrusted: %.100s is not signed by a key that this cache trusts; sign it (nix store sign) and copy it again", r.Path)
}

// refusal says so to a client that cannot wait.
func (n need) refusal(of *record) error {
	switch {
	case n.damaged:
		return refuse(MissingNAR, "missing NAR: %s is damaged in this cache; send it again", n.key)
	case n.path == "":
		return refuse(MissingNAR, "missing NAR: %s is not in this cache; send it before the narinfo", n.key)
	}
	return refuse(MissingReference, "missing reference: %.80s needs %.80s, which is not in this cache; copy that first, with --refresh if Nix says it is there",
		of.Path, n.path)
}

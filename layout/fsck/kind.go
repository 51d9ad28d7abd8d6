package fsck

import "fmt"

// A Kind is a way to be wrong. Its text is part of the program's output and
// does not change.
type Kind int

// The problems, then the notes.
const (
	NoCacheInfo       Kind = iota // the tree has no nix-cache-info: no client takes it for a cache
	BadCacheInfo                  // nix-cache-info cannot be read
	MalformedKey                  // a NAR is named by what cannot be a hash
	BadNarInfo                    // a narinfo cannot be parsed, or is of another store directory
	WrongName                     // a narinfo is the record of another path than its name says
	BadURL                        // a narinfo leads out of nar/
	MissingNAR                    // a narinfo leads to a NAR that is not there (I2)
	FileSize                      // a NAR file has another size than the narinfo says
	FileHash                      // a NAR file hashes to something else than its name or the narinfo says (I1, I4)
	MissingReference              // a path is there without one that it refers to (I3)
	WrongCA                       // a content address does not lead to the path, or is not that of the bytes
	BadSignature                  // a trusted key's name stands on signatures that are not good
	Untrusted                     // no trusted key has signed, and the content does not prove itself
	MissingListing                // a path has no listing (I2)
	BadListing                    // a listing cannot be parsed
	ListingDiffers                // a listing tells of another content than the NAR has
	BadDebugInfo                  // a link to debug symbols cannot be parsed, or leads out of nar/
	DanglingDebugInfo             // a link to debug symbols leads to a NAR, or a file in it, that is not there
	BadRealisation                // a realisation cannot be parsed
	BadNAR                        // a NAR file does not hold what its compression says, or no canonical NAR
	NarHash                       // a NAR hashes to something else than its narinfo says
	NarSize                       // a NAR has another size than its narinfo says
	BadPin                        // a pin cannot be read: nothing can be pruned
	MissingPinned                 // a pin names a path that is not there

	NoFileHash          // a narinfo leaves out FileHash or FileSize: Nix up to 2.34 aborts when it is to re-sign it
	UnreferencedNAR     // no narinfo leads to a NAR: it is being uploaded, or was left by a crash or a removal
	UnreferencedListing // a listing without a narinfo, likewise
	DanglingRealisation // a realisation of paths that are not there: true nevertheless, and another cache may have them
	WithdrawnPaths      // paths were withdrawn, and can be brought back
	UnfinishedFile      // a file in staging: a running process's, or left by one that died
	ForeignFile         // nothing that belongs to a cache
	UnknownCA           // a content address is of a kind that is not known here: it proves nothing
	kinds               = iota
	firstNote           = NoFileHash
)

var names = [kinds]string{
	NoCacheInfo: "no-cache-info", BadCacheInfo: "bad-cache-info", MalformedKey: "malformed-key",
	BadNarInfo: "bad-narinfo", WrongName: "wrong-name", BadURL: "bad-url",
	MissingNAR: "missing-nar", FileSize: "file-size", FileHash: "file-hash",
	MissingReference: "missing-reference", WrongCA: "wrong-ca",
	BadSignature: "bad-signature", Untrusted: "untrusted",
	MissingListing: "missing-listing", BadListing: "bad-listing", ListingDiffers: "listing-differs",
	BadDebugInfo: "bad-debuginfo", DanglingDebugInfo: "dangling-debuginfo", BadRealisation: "bad-realisation",
	BadNAR: "bad-nar", NarHash: "nar-hash", NarSize: "nar-size",
	NoFileHash: "no-file-hash", UnreferencedNAR: "unreferenced-nar", UnreferencedListing: "unreferenced-listing",
	BadPin: "bad-pin", MissingPinned: "missing-pinned", WithdrawnPaths: "withdrawn",
	DanglingRealisation: "dangling-realisation", UnfinishedFile: "unfinished-file", ForeignFile: "foreign-file",
	UnknownCA: "unknown-ca",
}

// Note reports whether findings of this kind are notes, not problems.
func (k Kind) Note() bool { return k >= firstNote }

// String returns the name, such as "missing-nar".
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

// MarshalText returns the name, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range names {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("unknown kind of problem %.60q", text)
}

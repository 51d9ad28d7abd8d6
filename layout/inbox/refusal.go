package inbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Outcome says what became of an upload that was not refused.
type Outcome int

// The outcomes. All of them are success to a client.
const (
	Created   Outcome = iota // the key is there now, and was not before
	Replaced                 // the key has other bytes now
	Merged                   // a record that was there gained signatures
	Unchanged                // the tree had it already, or keeps its own
	Held                     // it waits for what belongs to it; readers do not see it
)

var outcomes = [...]string{Created: "created", Replaced: "replaced", Merged: "merged", Unchanged: "unchanged", Held: "held"}

// String returns the word that logs and metrics use.
func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomes) {
		return fmt.Sprintf("Outcome(%d)", int(o))
	}
	return outcomes[o]
}

// A Reason is why an upload is refused: a word for logs and metrics that does
// not change.
type Reason string

// The reasons. Those of the first group can be told before the body is read.
const (
	ForeignKey     Reason = "foreign-key"     // not a key of a binary cache
	TooLarge       Reason = "too-large"       // more bytes than an object of its kind may have
	NoSpace        Reason = "no-space"        // the disk would be fuller than allowed
	TooManyHeld    Reason = "too-many-held"   // no room to hold another narinfo
	BadPiece       Reason = "bad-piece"       // of a NAR that is sent in pieces: not where one begins or ends
	ClosedTree     Reason = "closed"          // a mirror owns the tree
	BadCompression Reason = "bad-compression" // of a NAR: not what its name says, damaged, or unknown here

	Empty        Reason = "empty"          // no bytes
	BadFile      Reason = "bad-file"       // a NAR file that does not hash to its name
	BadNAR       Reason = "bad-nar"        // not a canonical NAR
	NARTooLarge  Reason = "nar-too-large"  // it decompresses to more than is allowed
	BadCacheInfo Reason = "bad-cache-info" // nix-cache-info cannot be read

	BadNarInfo       Reason = "bad-narinfo"       // cannot be parsed
	WrongStoreDir    Reason = "wrong-store-dir"   // made for another store directory
	WrongName        Reason = "wrong-name"        // the record of another path than its key says
	BadURL           Reason = "bad-url"           // does not lead to a NAR of this cache
	MissingNAR       Reason = "missing-nar"       // the NAR is not there
	NARDiffers       Reason = "nar-differs"       // the NAR is not what the narinfo says
	MissingReference Reason = "missing-reference" // a path that it refers to is not there
	WrongCA          Reason = "wrong-ca"          // the content address does not hold
	BadSignature     Reason = "bad-signature"     // a known key's name on a signature that is not good
	Untrusted        Reason = "untrusted"         // no trusted key has signed it
	Conflict         Reason = "conflict"          // the same name with other content is there

	BadListing     Reason = "bad-listing"     // cannot be parsed
	ListingDiffers Reason = "listing-differs" // tells of another content than the NAR has
	BadDebugInfo   Reason = "bad-debuginfo"   // cannot be parsed, or leads to no debug file
	BadRealisation Reason = "bad-realisation" // cannot be parsed
)

// Reasons lists all reasons, for metrics that start from zero.
func Reasons() []Reason {
	return []Reason{ForeignKey, TooLarge, NoSpace, TooManyHeld, ClosedTree, BadPiece, BadCompression, Empty, BadFile, BadNAR, NARTooLarge,
		BadCacheInfo, BadNarInfo, WrongStoreDir, WrongName, BadURL, MissingNAR, NARDiffers, MissingReference, WrongCA,
		BadSignature, Untrusted, Conflict, BadListing, ListingDiffers, BadDebugInfo, BadRealisation}
}

// A Refusal says that an upload is not taken, and has changed nothing. It is
// about what the client sent or about this cache's rules; trouble with the
// storage is another error.
type Refusal struct {
	Reason Reason
	Msg    string // one line of at most 300 bytes for the person who uploads: what is wrong, and what to do
	Err    error  // the cause, nil if Msg says it all; not for strangers
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Msg }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// maxMsg is what every Nix shows of an answer, with room for the rest of its line.
const maxMsg = 300

// refuse makes a Refusal.
func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Msg: oneLine(fmt.Sprintf(format, args...))}
}

// because adds the cause, which the message does not show.
func (r *Refusal) because(err error) *Refusal {
	r.Err = err
	return r
}

// oneLine cuts a message to one line of maxMsg bytes.
func oneLine(msg string) string {
	msg = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, msg)
	if len(msg) <= maxMsg {
		return msg
	}
	msg = msg[:maxMsg-len("…")]
	for !utf8.ValidString(msg) {
		msg = msg[:len(msg)-1]
	}
	return msg + "…"
}

// A BodyError says that the client's body could not be read to its end: the
// connection broke, or fewer bytes came than were announced. Nothing changed.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return "read the upload: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// reasonOf returns the reason of an error of Check or Put, "" if it is not a
// Refusal.
func reasonOf(err error) Reason {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

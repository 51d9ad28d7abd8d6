package inbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
)

// Config says where uploads go and what is taken. All but Writer may be zero.
type Config struct {
	// Writer holds the tree, its store directory, and the keys whose signatures
	// every path and realisation gains. Its compression is not used: NARs stay as
	// they come.
	Writer *layout.Writer

	// Trusted are the keys whose word is taken.
	Trusted signer.Trusted
	// Known are keys whose signatures have to be good. Their word alone is taken for
	// what Options.Vouched says.
	Known signer.Trusted
	// RequireSignature refuses a path that no trusted key has signed, unless its
	// bytes prove its content address; and realisations likewise, which can prove
	// nothing.
	RequireSignature bool
	// Provided reports whether a named upstream provides a path that is referred
	// to and not in the tree (I3). An error means that it could not tell (I5):
	// the upload then fails without being refused. Nil: none is.
	Provided func(context.Context, layout.StorePath) (bool, error)

	MaxFile    int64 // bytes of a NAR file; 0 for no bound but the disk's
	MaxNarSize int64 // bytes that a NAR may decompress to; 0 for 64 GiB
	MaxLog     int64 // bytes of a build log; 0 for 1 GiB

	// FreeSpace returns the bytes that are free where the tree is. Uploads that
	// would leave fewer than MinFree are refused, those that turn out so while
	// they stream in as well. Nil: not looked at.
	FreeSpace func() (uint64, error)
	MinFree   int64

	// Memory bounds what is kept in memory between the objects of one upload:
	// notes of the NARs that came by get half of it, what clients sent ahead of
	// its narinfo the rest. In bytes; 0 for 64 MiB.
	Memory int64
	// MaxFiles bounds the files that are open for that, of which each half has half: what
	// is long is in a file. 0 for 256.
	MaxFiles int
	// Decoding is the memory of decoders, which clients share; nil for
	// layout.DecoderMemory of its own.
	Decoding *share.Pool
	// Turns are those of the processor, which clients share; nil for turns of its own.
	Turns *share.Pool
	// MaxHeld and MaxHeldBytes bound the narinfos that wait in the tree for what
	// they lead to. 0 for 100,000, and for 256 MiB. A client may have half of what
	// is free.
	MaxHeld      int
	MaxHeldBytes int64
	// MaxPieceBytes bounds the pieces of NARs that wait in the tree for the rest; 0 for
	// 128 GiB. A client may have half of what is free.
	MaxPieceBytes int64

	Log *slog.Logger // nil for slog.Default()
}

// Options say how an object comes.
type Options struct {
	// Strict refuses what comes out of order, and what is empty. For clients that
	// are Nix: they never do that, and take an object that is held for one that
	// is there.
	Strict bool
	// Size is the announced number of bytes, -1 if none was announced. A body that
	// has another number is a BodyError.
	Size int64
	// Path is set to the path of a narinfo that could be read, whatever becomes of
	// it. It may be nil.
	Path *layout.StorePath
	// Vouched are keys whose word is taken for this object, beside Config.Trusted.
	Vouched signer.Trusted
	// Spooled is told how much of a NAR is in the spool by now, see layout.Writer. Nil:
	// no party is told.
	Spooled func(file layout.SpoolFile, n int64)
	// Name says that the hash in the key of a NAR is not known to be that of the file: any
	// will do, and Name is set to the key with the right one, where the NAR is put. Nil: the
	// file has the hash in the key.
	Name *layout.Key
	// NarSize is how many bytes a NAR may decompress to, if that is less than the
	// Config's bound; 0: not known.
	NarSize int64
	// Passed is told what a NAR is that went through the pass whole, and has the hash
	// that its name promises. It is called before the NAR stands at its key, and an
	// error keeps it from there. Nil: no party is told.
	Passed func(narHash layout.Hash, narSize int64) error
}

// decodingPatience is how long an upload waits for memory. A Nix gives up after
// five minutes without an answer.
const decodingPatience = 4 * time.Minute

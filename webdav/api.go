package webdav

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Config says what is served and to whom. All but Tree may be zero.
type Config struct {
	// Tree is what readers see. It is read as it is at that moment; other processes may
	// change it.
	Tree layout.Tree
	// Fresh is for how long a small object counts as unchanged after the tree was seen to
	// have it, unless a request changes something. 0: each answer needs a look.
	Fresh time.Duration
	// Inbox takes uploads for the same tree. Nil: nothing may be uploaded, and
	// the upload URL does not exist.
	Inbox *inbox.Inbox
	// UploadPrefix is the path of the upload URL; "" for "/upload/". It begins and
	// ends with a slash, one that is missing is added. With "/" readers and
	// uploading clients share one URL, see the package comment for what that costs.
	UploadPrefix string

	// StoreDir is the store directory of the records that Upstream returns, "" for
	// layout.DefaultStoreDir.
	StoreDir string

	// Redirect returns a URL at which a NAR can be read, to which readers are sent
	// instead of getting the bytes from here; an error is trouble of ours. Only GET
	// at the read URL is answered so, never the upload URL, not even where both are
	// one. It must be cheap. Nil: the bytes pass through here.
	Redirect func(ctx context.Context, nar layout.Key) (string, error)

	// Roots remembers what runs push and rely upon that upload to <UploadPrefix>root/
	// <root>/<run>. Nil: there are no such URLs.
	Roots Roots
	// Pins takes pins. Nil: none are taken.
	Pins Pinner

	// Uses is told what readers were sent, or were told that they have still. Nil: no
	// use is remembered.
	Uses Uses

	// Unlisted keeps what the tree has from readers who do not know its names: PROPFIND
	// at the read URL, and the search index, need the scope Upload.
	Unlisted bool

	Auth     Authenticator // nil: ReadOnly
	Upstream Upstream      // nil: none
	Through  Through       // fetches what Tree lacks when a reader asks for it; nil: nothing is
	Name     string        // of this server in the questions of Through: see NewServerName
	Metrics  Recorder      // nil: none
	Log      *slog.Logger  // nil for slog.Default()

	// MaxUploads is how many NARs and logs are taken at the same time; 0 for 32.
	// Clients share them. Those beyond wait, unread, for their turn: for UploadWait,
	// 0 for four minutes.
	MaxUploads int
	UploadWait time.Duration

	// Decoding is the memory for bodies with a Content-Encoding, which clients share:
	// best the same that the Inbox has. Nil for layout.DecoderMemory of its own.
	Decoding *share.Pool
	// Turns are those of the processor for such bodies, best the same that the Inbox has.
	// Nil for turns of its own.
	Turns *share.Pool
	// BodyStall is how long a client may send nothing of a body that it has
	// announced, and how long it may take nothing of an answer; 0 for a minute.
	BodyStall time.Duration
	// MaxSmall bounds the bytes of everything but NARs and logs, decompressed;
	// 0 for 16 MiB. The formats have tighter limits of their own.
	MaxSmall int64
}

// A Scope is what a request needs to be allowed to do. A higher one includes
// the lower ones.
type Scope int

// The scopes.
const (
	Read   Scope = iota // what the tree holds
	Upload              // adding to it, and reading at the upload URL
	Admin               // pages, pins, and everything else that changes it
)

// String returns the word that tokens and messages use.
func (s Scope) String() string {
	switch s {
	case Read:
		return "read"
	case Upload:
		return "upload"
	case Admin:
		return "admin"
	}
	return "unknown"
}

// An Authenticator decides who may do what. It is asked once per request,
// before anything else is looked at, and must be cheap and safe for concurrent
// use. The request's body is not its to read.
type Authenticator interface {
	// Authorize returns the name of the token that the request was allowed for, ""
	// if none was needed. The error is an *AuthError; another one means that it
	// could not tell, and is answered as 503 before the body is read.
	Authorize(r *http.Request, need Scope) (token string, err error)
}

// AllowAll lets everyone do everything. It is for tests, and for a server that
// only its operator reaches.
var AllowAll Authenticator = allow(Admin)

// ReadOnly lets everyone read, and no one upload.
var ReadOnly Authenticator = allow(Read)

// allow lets everyone do what needs a scope up to this one.
type allow Scope

// Authorize compares scopes.
func (a allow) Authorize(_ *http.Request, need Scope) (string, error) {
	if need > Scope(a) {
		return "", &AuthError{Status: http.StatusForbidden, Msg: "this server takes no uploads"}
	}
	return "", nil
}

// An AuthError is a request that is not allowed.
type AuthError struct {
	Status     int           // 401, 403 or 429
	Challenge  string        // WWW-Authenticate, for 401
	RetryAfter time.Duration // for 429; 0: not said
	Msg        string        // one line for the client: what to do. "" for a general one
}

// Error returns the message.
func (e *AuthError) Error() string {
	if e.Msg != "" {
		return e.Msg
	}
	return http.StatusText(e.Status)
}

// An Upstream knows the store paths that another cache provides, so that they
// need not be uploaded.
type Upstream interface {
	// Has returns the upstream's narinfo of the path with this hash (32
	// characters, the first of its name), with a signature that was verified. It is
	// shared by all who ask, and not to be changed. The error is fs.ErrNotExist only if
	// no upstream has it (I5).
	Has(ctx context.Context, hash string) ([]byte, error)
}

// Uses remembers what is read. Its methods must be cheap.
type Uses interface {
	Read(key layout.Key)
	// Known reports whether Read would change nothing.
	Known(key layout.Key) bool
}

// Roots remembers what runs rely upon.
type Roots interface {
	// Note writes down that a run relies on store paths, by their hashes. Without an
	// error that is durable, and the paths that are there from then on stay while the
	// run counts. The error is layout.ErrTooManyRuns if the client names too many.
	Note(ctx context.Context, run layout.RunID, hashes ...string) error
}

// ErrUpstream is what an Upstream cannot tell because a cache does not answer.
var ErrUpstream = errors.New("an upstream does not answer")

// A Recorder counts what was done. Its methods are called once at the end of
// each request, and must be cheap and safe for concurrent use.
type Recorder interface {
	// Request is called for every request. Method is that of the request, or
	// "other"; class is the word of the key's layout.Kind at the read URL, with
	// "upload:" before it at the upload URL, "dav" for a WebDAV verb, "none" for
	// what has no key: a bounded set. Bytes are those of the bodies as they went
	// over the wire, d is the whole time in nanoseconds of a time.Duration.
	Request(method, class string, status int, bytesIn, bytesOut int64, d time.Duration)
	// Upload is called for every PUT that was authorised. Result is the word of
	// an inbox.Outcome or inbox.Reason, or one of the Result constants; bytes are
	// what was read of the body, decompressed; d is the time in which it was
	// received, checked and stored.
	Upload(result string, kind layout.Kind, bytes int64, d time.Duration)
}

// Outcomes that Recorder.Upload is told beside those of package inbox.
const (
	ResultBroken   = "broken-body"   // the client's connection ended before the body did, or stalled
	ResultEncoding = "bad-encoding"  // a Content-Encoding that is unknown, damaged or too large
	ResultStorage  = "storage"       // trouble of ours
	ResultHeader   = "bad-header"    // the headers ask for what is not done here
	ResultExists   = "precondition"  // If-None-Match: * and the key is taken
	ResultUpstream = "upstream"      // trouble of an upstream
	ResultRuns     = "too-many-runs" // the client names too many runs
	ResultBusy     = "busy"          // no place for it became free in time
)

// Results lists the words of Recorder.Upload that are not package inbox's.
func Results() []string {
	return []string{ResultBroken, ResultEncoding, ResultStorage, ResultHeader, ResultExists, ResultBusy, ResultUpstream, ResultRuns}
}

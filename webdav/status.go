package webdav

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Challenge makes clients ask for a name and a password, and says that both may
// be more than ASCII.
const Challenge = `Basic realm="nixstatic", charset="UTF-8"`

// A failure is an answer that is not success. This file is the one place that
// turns errors into them.
type failure struct {
	status     int
	text       string        // one line, which a person reads in the client's output
	result     string        // for Recorder.Upload
	cause      error         // for the log: trouble of ours
	challenge  string        // WWW-Authenticate
	retryAfter time.Duration // 0: not said
	hangUp     bool          // nothing more is to be expected of the body
}

// refusals is the status of every reason to refuse. They are all fatal to every
// Nix at once, and all show the message: 4xx but 408 and 429. Those of WebDAV
// clients that know 507 are told in reply.
var refusals = map[inbox.Reason]int{
	inbox.ForeignKey: http.StatusForbidden,

	inbox.TooLarge:    http.StatusRequestEntityTooLarge,
	inbox.NARTooLarge: http.StatusRequestEntityTooLarge,
	inbox.NoSpace:     http.StatusInsufficientStorage,
	inbox.TooManyHeld: http.StatusInsufficientStorage,

	inbox.BadPiece: http.StatusBadRequest,

	inbox.BadCompression: http.StatusUnprocessableEntity,
	inbox.Empty:          http.StatusUnprocessableEntity,
	inbox.BadFile:        http.StatusUnprocessableEntity,
	inbox.BadNAR:         http.StatusUnprocessableEntity,
	inbox.BadCacheInfo:   http.StatusUnprocessableEntity,
	inbox.BadNarInfo:     http.StatusUnprocessableEntity,
	inbox.WrongStoreDir:  http.StatusUnprocessableEntity,
	inbox.WrongName:      http.StatusUnprocessableEntity,
	inbox.BadURL:         http.StatusUnprocessableEntity,
	inbox.NARDiffers:     http.StatusUnprocessableEntity,
	inbox.WrongCA:        http.StatusUnprocessableEntity,
	inbox.BadListing:     http.StatusUnprocessableEntity,
	inbox.ListingDiffers: http.StatusUnprocessableEntity,
	inbox.BadDebugInfo:   http.StatusUnprocessableEntity,
	inbox.BadRealisation: http.StatusUnprocessableEntity,

	inbox.MissingNAR:       http.StatusConflict,
	inbox.MissingReference: http.StatusConflict,
	inbox.Conflict:         http.StatusConflict,

	inbox.BadSignature: http.StatusForbidden,
	inbox.Untrusted:    http.StatusForbidden,
	inbox.ClosedTree:   http.StatusForbidden,
}

// errEncoding is a Content-Encoding that does not hold what it promises.
var errEncoding = errors.New("content encoding")

// failureOf turns an error of an upload into an answer. It does not look at who
// asks: soften does.
func failureOf(err error) *failure {
	var refusal *inbox.Refusal
	var auth *AuthError
	var broken *inbox.BodyError
	var unable *layout.UnableError
	switch {
	case errors.Is(err, share.ErrBusy):
		return &failure{status: http.StatusTooManyRequests, result: ResultBusy, retryAfter: 10 * time.Second,
			text: "too much is being uploaded, and no room for this was free for a while: try again later"}
	case errors.Is(err, layout.ErrTooManyRuns):
		return &failure{status: http.StatusForbidden, text: err.Error() + ": wait until tomorrow, or push without a root", result: ResultRuns}
	case errors.Is(err, ErrUpstream):
		return &failure{status: http.StatusServiceUnavailable, result: ResultUpstream, cause: err, retryAfter: 5 * time.Second,
			text: "an upstream of this cache does not answer, so that nobody can tell what it provides: try again later"}
	case errors.As(err, &refusal):
		status, ok := refusals[refusal.Reason]
		if !ok {
			status = http.StatusUnprocessableEntity
		}
		return &failure{status: status, text: refusal.Msg, result: string(refusal.Reason)}
	case errors.As(err, &auth):
		return authFailure(auth)
	case errors.Is(err, errStalled):
		return &failure{status: http.StatusRequestTimeout, text: "the upload came too slowly and was given up", result: ResultBroken, hangUp: true}
	case errors.Is(err, errEncoding):
		return &failure{status: http.StatusBadRequest, text: "the body is not what its Content-Encoding says: it is damaged or cut off", result: ResultEncoding}
	case errors.As(err, &broken):
		return &failure{status: http.StatusBadRequest, text: "the body ended before its announced end", result: ResultBroken, hangUp: true}
	case errors.Is(err, context.Canceled):
		return &failure{status: http.StatusBadRequest, text: "the connection was closed before the upload ended", result: ResultBroken, hangUp: true}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &failure{status: http.StatusInsufficientStorage, text: "the disk of the cache is full", result: ResultStorage, cause: err}
	case errors.As(err, &unable):
		return &failure{status: http.StatusNotImplemented, text: "the file system of the cache cannot " + unable.What, result: ResultStorage, cause: err}
	}
	return &failure{status: http.StatusServiceUnavailable, text: "the cache has trouble with its storage, try again later",
		result: ResultStorage, cause: err, retryAfter: 5 * time.Second}
}

func authFailure(auth *AuthError) *failure {
	f := &failure{status: auth.Status, text: auth.Error(), retryAfter: auth.RetryAfter}
	switch auth.Status {
	case http.StatusUnauthorized:
		f.challenge = auth.Challenge
		if f.challenge == "" {
			f.challenge = Challenge
		}
	case http.StatusForbidden, http.StatusTooManyRequests:
	default:
		f.status = http.StatusForbidden
	}
	return f
}

// soften changes an answer to a PUT into one that this client survives. Sent is whether
// it may have sent some of the body. Nix treats answers so:
//
//	2xx but 202                fine
//	408, 429, other 5xx        tries again, which before 2.33.2 hangs if it had
//	                           sent some of the body
//	501, 505, 511, other 4xx   gives up and shows the text
//
// A disk that is full stays full while a client tries five times, so 507 is for clients
// that are not Nix.
func (f *failure) soften(c client, sent bool) *failure {
	switch {
	case !c.nix:
	case f.status == http.StatusInsufficientStorage && f.cause == nil:
		f.status = http.StatusRequestEntityTooLarge
	case c.resends || !sent:
	case f.status == http.StatusTooManyRequests:
		f.status = http.StatusForbidden
	case f.status == http.StatusRequestTimeout:
		f.status = http.StatusBadRequest
	case f.status >= 500:
		f.status = http.StatusNotImplemented
	}
	return f
}

// absent is the answer for an object that is not there. Clients remember it of their
// own accord; proxies are not to.
func absent() *failure {
	return &failure{status: http.StatusNotFound, text: "not in this cache"}
}

// maxText bounds what is said of a failure: Nix shows a body of less than 1 KiB.
const maxText = 900

// reply writes a failure. Nothing may have been written before.
func reply(w *response, r *http.Request, f *failure) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
	}
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	if f.hangUp && r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	text := f.text
	if text == "" {
		text = strings.ToLower(http.StatusText(f.status))
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	h["Content-Type"] = textPlain
	h["Content-Length"] = []string{strconv.Itoa(len(text) + 1)}
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		fmt.Fprintln(w, text)
	}
}

// refuse answers with a failure although there may be more of the body to come.
//
// A client that waits for 100 Continue is not asked for it. A short rest is read first,
// and the connection lives on. If the rest is long, the client is answered at once and
// the body is read on for a while: curl stops sending when the answer comes, over
// HTTP/1 by closing the connection. If we closed ours at once, the answer could be lost
// on the way; over HTTP/2 the curl of Nix 2.8 then always loses the text of it. Later
// ones stop sending there and wait for us to end the stream.
func refuse(w *response, r *http.Request, in *body, f *failure) {
	waits := !in.touched && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
	switch rest := r.ContentLength - in.n; {
	case in.eof, waits, f.hangUp:
		reply(w, r, f)
	case r.ContentLength >= 0 && rest <= drainFirst:
		f.hangUp = !in.drain()
		reply(w, r, f)
	default:
		f.hangUp = true
		reply(w, r, f)
		http.NewResponseController(w).Flush()
		in.drain()
	}
}

var textPlain = []string{"text/plain; charset=utf-8"}

// isAbsent is whether an error says that something is known not to be there.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

package s3

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// ErrNoBucket says that there is no bucket of that name. Prepare makes one.
var ErrNoBucket = errors.New("the bucket does not exist")

// ErrCredentials says that the store does not take the credentials: it does not
// know the access key, finds the signature wrong, or they have run out. It is a
// fs.ErrPermission.
var ErrCredentials = fmt.Errorf("the store does not take the credentials: %w", fs.ErrPermission)

// ErrDenied says that the store knows who asks, and does not allow what is asked
// for. It is a fs.ErrPermission.
var ErrDenied = fmt.Errorf("the store does not allow it: %w", fs.ErrPermission)

// ErrUnsigned says that a request had no credentials, where the store wants some.
var ErrUnsigned = errors.New("asked without credentials")

// errPrecondition is a 412: the condition of a Put does not hold.
var errPrecondition = errors.New("precondition failed")

// errNoUpload says that an upload in parts is not there: completed, removed by
// someone, or expired.
var errNoUpload = errors.New("the upload in parts is gone")

// A refusal is an answer of the store other than success.
type refusal struct {
	status int    // 0 where an error came inside a success
	code   string // of S3
	text   string // what the store says, cut short
	region string // where the store says the bucket is
	server string // what the store calls itself
	is     error  // what it means to a caller, or nil
}

func (e *refusal) Error() string {
	switch {
	case e.is == ErrNoBucket, e.is == ErrHTTPS:
		return e.is.Error()
	case e.text == "" || e.text == e.code:
		return fmt.Sprintf("the store answers %d %s", e.status, e.code)
	case e.code == "":
		return fmt.Sprintf("the store answers %d: %s", e.status, e.text)
	}
	return fmt.Sprintf("the store answers %s: %s", e.code, e.text)
}

func (e *refusal) Unwrap() error { return e.is }

// classify turns an error of the client library into one of ours.
func classify(err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return netx.WithoutURL(err)
	}
	e := &refusal{status: answer.StatusCode, code: plain(answer.Code), text: plain(answer.Message), region: answer.Region, server: answer.Server}
	switch answer.Code {
	case "NoSuchKey":
		e.is = fs.ErrNotExist
	case "KeyTooLongError", "XMinioInvalidObjectName", "XMinioInvalidResourceName":
		// The store has no room for such a name.
		e.is = fs.ErrNotExist
	case "NoSuchBucket":
		e.is = ErrNoBucket
	case "NoSuchUpload":
		e.is = errNoUpload
	case "PreconditionFailed":
		e.is = errPrecondition
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidTokenId",
		"InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "XAdminUserNotFound":
		e.is = ErrCredentials
	case "RequestTimeTooSkewed":
		e.is = ErrClock
	case "ConditionalRequestConflict", "OperationAborted":
		// Amazon could not decide between two writers: it is to be tried again.
	default:
		switch {
		case answer.StatusCode == http.StatusBadRequest && netx.SaysHTTPS(answer.Message):
			e.is = ErrHTTPS
		case answer.StatusCode == http.StatusPreconditionFailed:
			e.is = errPrecondition
		case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
			e.is = ErrDenied
		}
	}
	return e
}

// transient reports whether a request may succeed later, and whether the store
// asks for fewer of them.
func transient(err error) (again, throttled bool) {
	if err == nil {
		return false, false
	}
	var e *refusal
	if errors.As(err, &e) {
		switch e.code {
		case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded",
			"RequestThrottled", "TooManyRequests", "ServiceUnavailable", "ServerBusy":
			return true, true
		case "InternalError", "RequestTimeout", "RequestError", "ConditionalRequestConflict", "OperationAborted",
			"IncompleteBody":
			return true, false
		}
		// A checksum that does not fit the bytes we just hashed means that they
		// were damaged on the way.
		if mismatch(e) {
			return true, false
		}
		if e.status == http.StatusNotImplemented || e.code == "NotImplemented" {
			return false, false
		}
		slow := e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests
		return slow || e.status == http.StatusRequestTimeout || e.status == 499 || e.status >= 500, slow
	}
	var silent *netx.NoAnswer
	if errors.As(err, &silent) || netx.IsTLS(err) {
		return netx.MayPass(err), false
	}
	var network net.Error
	return netx.MayPass(err) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF), false
}

// mismatch reports whether the store found other bytes than we announced.
func mismatch(err error) bool {
	var e *refusal
	if !errors.As(err, &e) {
		return false
	}
	switch e.code {
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return true
	}
	return false
}

// plain makes one short line of what a stranger wrote.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ".")
	if cut := []rune(s); len(cut) > 300 {
		s = string(cut[:300]) + "…"
	}
	return s
}

// lower begins an error of the client library as ours begin.
func lower(err error) error {
	text := err.Error()
	return errors.New(strings.ToLower(text[:1]) + text[1:])
}

// explain adds to a refusal what the store does not know.
func (b *Bucket) explain(err error) error {
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return b.clock.explain(err)
	case b.anonymous:
		return fmt.Errorf("%w (%w: %s)", err, ErrUnsigned, b.credentials)
	}
	return fmt.Errorf("%w (the credentials are from %s)", err, b.credentials)
}

// about adds what was done to which object.
func (b *Bucket) about(verb string, key layout.Key, err error) error {
	return fmt.Errorf("%s %s: %w", verb, b.name(key), err)
}

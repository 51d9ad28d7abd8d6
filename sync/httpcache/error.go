package httpcache

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// A requestError tells what was asked for.
type requestError struct {
	verb, url string
	err       error
}

func (e *requestError) Error() string { return e.verb + " " + e.url + ": " + e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// A statusError is an answer other than success.
type statusError struct {
	code       int
	text       string // what the server says, cut short
	throttled  bool   // an object store asks for patience under any status
	authorized bool   // credentials were sent
	wait       time.Duration
	elsewhere  string // host that a redirect led to
}

func (e *statusError) Error() string {
	msg := fmt.Sprintf("%d %s", e.code, http.StatusText(e.code))
	if e.elsewhere != "" {
		msg += " from " + e.elsewhere
	}
	if e.code == http.StatusUnauthorized {
		if e.authorized {
			msg += " (user name and password were refused)"
		} else {
			msg += " (neither the URL nor netrc has a user name and password for it)"
		}
	}
	if e.text != "" {
		msg += ": " + e.text
	}
	return strings.TrimSpace(msg)
}

// Is tells absence (I5): 403 is how S3 says it where listing is not allowed,
// and Nix takes it so too.
func (e *statusError) Is(target error) bool {
	switch e.code {
	case http.StatusNotFound, http.StatusGone:
		return target == fs.ErrNotExist
	case http.StatusForbidden:
		return target == fs.ErrNotExist && !e.throttled
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return target == ErrRefused || target == fs.ErrPermission
	}
	return false
}

// transient reports whether asking again can help; the list is Nix's.
func (e *statusError) transient() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return e.code >= 500 || e.throttled
}

// rateLimited reports whether the server is asked too much.
func (e *statusError) rateLimited() bool {
	return e.throttled || e.code == http.StatusTooManyRequests || e.code == http.StatusServiceUnavailable
}

const maxErrorBody = 4 << 10

// throttles are the codes by which S3 and its kin ask to be asked later.
var throttles = regexp.MustCompile(`<Code>(SlowDown|InternalError|RequestTimeout|ServiceUnavailable|Throttling|OperationAborted)</Code>`)

func readStatus(r *response, authorized bool) error {
	e := &statusError{code: r.StatusCode, authorized: authorized && r.Request.Header.Get("Authorization") != ""}
	e.wait = retryAfter(r.header().Get("Retry-After"), time.Now())
	if first := firstRequest(r.Response); !strings.EqualFold(first.URL.Host, r.Request.URL.Host) {
		e.elsewhere = r.Request.URL.Host
	}
	// An unreadable body is not missed: the status says enough.
	body, _ := io.ReadAll(io.LimitReader(r, maxErrorBody))
	e.throttled = throttles.Match(body)
	if !isWebPage(body) {
		e.text = excerpt(body)
	}
	return e
}

func firstRequest(r *http.Response) *http.Request {
	req := r.Request
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// excerpt makes one short printable line of a text from outside.
func excerpt(body []byte) string {
	line := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || 0x80 <= c && c < 0xa0 || c == '\uFFFD' {
			return ' '
		}
		return c
	}, string(body))
	line = strings.Join(strings.Fields(line), " ")
	if cut := []rune(line); len(cut) > 200 {
		line = string(cut[:200]) + "…"
	}
	return line
}

// A connectionError is a request without an answer.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// A brokenBody is an answer that ended too early.
type brokenBody struct{ err error }

func (e *brokenBody) Error() string { return "the answer broke off: " + e.err.Error() }
func (e *brokenBody) Unwrap() error { return e.err }

// stalled ends a request whose server sends nothing.
type stalled struct{ after time.Duration }

func (e *stalled) Error() string { return fmt.Sprintf("nothing came for %v", e.after) }

// A refusal is a redirect that is not followed.
type refusal string

func (e refusal) Error() string { return string(e) }

var errWebPage = errors.New("answered with a web page: a login page or proxy in between, or not the URL of a binary cache")

// isWebPage recognises a page by its beginning. No NAR, compressed or not, and
// no record begins like that.
func isWebPage(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), " \t\r\n")
	for _, start := range []string{"<!doctype", "<html", "<head", "<!--"} {
		if len(text) >= len(start) && strings.EqualFold(string(text[:len(start)]), start) {
			return true
		}
	}
	return false
}

// isTransient reports whether the same request may succeed when made again.
func isTransient(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.transient()
	}
	var broken *brokenBody
	if errors.As(err, &broken) {
		return true
	}
	var connection *connectionError
	if !errors.As(err, &connection) {
		return false
	}
	var (
		refused   refusal
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &refused), errors.As(err, &verify), errors.As(err, &authority),
		errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}

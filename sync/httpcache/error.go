package httpcache

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
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
	unread     error  // why a file of credentials could not be read
	wait       time.Duration
	elsewhere  string // host that a redirect led to
	named      bool   // by a server with names of its own, see Options
	https      bool   // it was asked in plain HTTP, and says that it speaks HTTPS
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
	if e.code == http.StatusUnauthorized && e.unread != nil {
		msg += ": " + e.unread.Error()
	}
	if e.text != "" {
		msg += ": " + e.text
	}
	if e.wait > maxRetryAfter {
		msg += fmt.Sprintf(": the server wants to be asked again after %v", e.wait)
	}
	return strings.TrimSpace(msg)
}

// AskedToWait is how long the server wants not to be asked, 0 if it does not say.
func (e *statusError) AskedToWait() time.Duration { return e.wait }

// Loops reports whether the question has been at the server before.
func (e *statusError) Loops() bool { return e.code == http.StatusLoopDetected }

// Is tells absence (I5): 403 is how S3 says it where listing is not allowed,
// and Nix takes it so too.
func (e *statusError) Is(target error) bool {
	if target == ErrHTTPS {
		return e.https
	}
	switch e.code {
	case http.StatusNotFound, http.StatusGone:
		return target == fs.ErrNotExist
	case http.StatusForbidden:
		return target == fs.ErrNotExist && !e.throttled && !e.named || target == ErrRefused && e.named
	case http.StatusConflict:
		return target == fs.ErrExist && e.named
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return target == ErrRefused || target == fs.ErrPermission
	}
	return false
}

// transient reports whether asking again can help; the list is Nix's.
func (e *statusError) transient() bool {
	if e.wait > maxRetryAfter {
		return false
	}
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusLoopDetected, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return e.code >= 500 || e.throttled
}

// rateLimited reports whether the server is asked too much.
func (e *statusError) rateLimited() bool {
	return e.throttled || e.code == http.StatusTooManyRequests || e.code == http.StatusServiceUnavailable
}

// Refuses reports whether an error is the answer of a server that does not want what it
// was sent, and will not want it later either.
func Refuses(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.code/100 == 4 && !status.transient() && status.wait == 0
}

const maxErrorBody = 4 << 10

// throttles are the codes by which S3 and its kin ask to be asked later.
var throttles = regexp.MustCompile(`<Code>(SlowDown|InternalError|RequestTimeout|ServiceUnavailable|Throttling|OperationAborted)</Code>`)

func (h *Reader) readStatus(r *response) error {
	e := &statusError{code: r.StatusCode, named: h.o.Name != nil, unread: h.unread, authorized: r.Request.Header.Get("Authorization") != ""}
	e.wait = retryAfter(r.header().Get("Retry-After"), time.Now())
	if first := firstRequest(r.Response); !strings.EqualFold(first.URL.Host, r.Request.URL.Host) {
		e.elsewhere = r.Request.URL.Host
	}
	// An unreadable body is not missed: the status says enough.
	body, _ := io.ReadAll(io.LimitReader(r, maxErrorBody))
	e.throttled = throttles.Match(body)
	e.https = r.Request.URL.Scheme == "http" && e.code == http.StatusBadRequest && netx.SaysHTTPS(string(body))
	switch {
	case isWebPage(body):
	case bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")):
		e.text = excerpt(fromXML(body))
	default:
		e.text = excerpt(body)
	}
	return e
}

var (
	xmlCode    = regexp.MustCompile(`<Code>([^<]*)</Code>`)
	xmlMessage = regexp.MustCompile(`<Message>([^<]*)</Message>`)
)

// fromXML returns what the XML of a store says to people, without the XML.
func fromXML(body []byte) []byte {
	var said []string
	for _, field := range []*regexp.Regexp{xmlCode, xmlMessage} {
		if m := field.FindSubmatch(body); m != nil {
			said = append(said, html.UnescapeString(string(m[1])))
		}
	}
	return []byte(strings.Join(said, ": "))
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

// stalled ends a request whose server sends nothing.
type stalled struct{ after time.Duration }

func (e *stalled) Error() string { return fmt.Sprintf("nothing came for %v", e.after) }

// A RootsError says that the authorities to trust cannot be read.
type RootsError = netx.RootsError

// ErrHTTPS says that a server was asked in plain HTTP and speaks HTTPS.
var ErrHTTPS = netx.ErrHTTPS

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
	var stood *stalled
	return errors.As(err, &status) && status.transient() || errors.As(err, &stood) || netx.MayPass(err)
}

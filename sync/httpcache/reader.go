package httpcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// Options change how a cache is read over HTTP. The zero value is right
// for a public cache and for what Nix itself reads with netrc.
type Options struct {
	UserAgent string // "" is "nixstatic/<version>"
	// Netrc is the file that knows user names and passwords. With "" the first of
	// $NETRC, ~/.netrc and netrc beside nix.conf that knows the host is taken.
	Netrc string
	// CAFile holds the certificates of the authorities to trust, in PEM. "" is
	// $NIX_SSL_CERT_FILE, and the system's where that is not set.
	CAFile string
	// Stall is how long a server may send nothing, before its answer and in the
	// middle of it. 0 is five minutes, as Nix has it: some caches build the NAR
	// they are asked for. The whole has no limit: NARs can be large.
	Stall time.Duration
	// Attempts is how often a request is tried that fails for a reason that may
	// pass, the first time included. 0 is 5.
	Attempts int
	// RetryDelay is the pause before the second attempt; each further one is
	// twice as long, up to a minute. 0 is 250 ms. It is twenty times as long
	// where the server says that it is asked too much, unless it says how long.
	RetryDelay time.Duration
	// Patience is the longest pause before another attempt: where a server wants a longer
	// one the request fails at once, with an error that has a method AskedToWait, which tells
	// how long. 0 is five minutes.
	Patience time.Duration
	Log      *slog.Logger // is told of retries; may be nil
	// Via returns the header of that name, by which servers that ask each other notice that
	// a question comes round. An answer 508 has an error with a method Loops. nil: none is
	// sent.
	Via func(context.Context) string
	// Name returns what an object is called below the URL, at a server that is not a
	// cache and has names of its own; nil: by its key. Such a server says that an object
	// is absent by 404 alone, and that a name is taken by 409.
	Name func(layout.Key) string
	// Token is sent as "Authorization: token …" instead of what netrc says.
	Token string
	// Password returns the user name and the password to send instead of what netrc says,
	// which may change with time: it is asked before each request. nil: netrc's.
	Password func(context.Context) (user, password string)
}

// Reader is the read-only layout.Reader of a binary cache behind a web server.
//
// The server has an object, or it does not (404, 410, and 403, which is how S3
// answers for missing objects in a bucket that may not be listed): everything
// else is neither, and an error that names the URL and the status (I5).
//
// Credentials belong to the scheme, host and port of the cache's URL. They are
// sent there unasked, and never anywhere else: not after a redirect, and not
// for a narinfo whose URL leads to another host. They are in no error.
type Reader struct {
	base      *url.URL // ends in a slash; without user, query and fragment
	auth      string   // the Authorization header for base's origin, "" for none
	unread    error    // why a netrc file was passed over
	transport *netx.Transport
	client    *http.Client
	again     netx.Retry
	o         Options
}

var _ layout.Reader = (*Reader)(nil)

// Open makes a reader of the cache at rawURL, which may carry
// user:password@. A query is dropped: Nix keeps the settings of a store there.
// No request is made yet.
func Open(rawURL string, o Options) (*Reader, error) {
	base, user, err := parseBase(rawURL)
	if err != nil {
		return nil, err
	}
	auth, unread, err := findCredentials(base, user, o.Netrc)
	if err != nil {
		return nil, err
	}
	if _, password := user.Password(); o.Token != "" && !password {
		auth, unread = "token "+o.Token, nil
	}
	if o.UserAgent == "" {
		o.UserAgent = "nixstatic/" + netx.Version()
	}
	if o.Stall <= 0 {
		o.Stall = 5 * time.Minute
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.RetryDelay <= 0 {
		o.RetryDelay = 250 * time.Millisecond
	}
	if o.Patience <= 0 {
		o.Patience = maxRetryAfter
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Reader{base: base, auth: auth, unread: unread, o: o}
	h.again = netx.Retry{Attempts: o.Attempts, Delay: o.RetryDelay, Most: min(maxRetryDelay, o.Patience), Log: o.Log}
	h.transport = netx.NewTransport(netx.Config{Stall: o.Stall, Connections: OpenConnections,
		CAFile: cmp.Or(o.CAFile, os.Getenv("NIX_SSL_CERT_FILE"))})
	if o.CAFile != "" {
		if err := h.transport.Roots(); err != nil {
			return nil, err
		}
	}
	h.client = &http.Client{CheckRedirect: h.redirect, Transport: h.transport}
	return h, nil
}

// URL returns the cache's URL without credentials.
func (h *Reader) URL() string { return h.base.String() }

// Close gives idle connections back. The reader can still be used.
func (h *Reader) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

// Get opens the object at key. Small objects are read whole before Get
// returns, so that an answer that breaks off is asked for again; a large one
// is resumed where it broke off if that can be done without mixing versions.
func (h *Reader) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	r := request{url: h.keyURL(key), accept: "identity"}
	var body io.ReadCloser
	var info layout.Info
	var err error
	switch kind := key.Kind(); kind {
	case layout.KindNarInfo, layout.KindCacheInfo, layout.KindRealisation, layout.KindDebugInfo:
		body, info, err = h.getWhole(ctx, r)
	case layout.KindListing, layout.KindLog:
		r.accept = "gzip" // text, and some of it large
		fallthrough
	default:
		r.checked, r.anyText = kind.Immutable(), kind == layout.KindLog || kind == layout.KindPage
		body, info, err = h.open(ctx, r)
	}
	info.Key = key
	return body, info, err
}

// OpenURL opens what the URL field of a narinfo of this cache leads to: a NAR,
// whose hash the caller knows.
func (h *Reader) OpenURL(ctx context.Context, ref string) (io.ReadCloser, layout.Info, error) {
	u, err := resolveURL(h.base, ref)
	if err != nil {
		return nil, layout.Info{}, err
	}
	return h.open(ctx, request{url: u, accept: "identity", checked: true})
}

// Stat asks for the headers of the object at key.
func (h *Reader) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	r := request{method: http.MethodHead, url: h.keyURL(key), accept: "identity"}
	var info layout.Info
	err := h.retry(ctx, r, func() error {
		resp, err := h.once(ctx, r)
		if err != nil {
			return err
		}
		info = resp.info()
		return resp.Close()
	})
	info.Key = key
	return info, err
}

// getWhole reads an object of at most layout.MaxNarInfo bytes.
func (h *Reader) getWhole(ctx context.Context, r request) (io.ReadCloser, layout.Info, error) {
	var text []byte
	var info layout.Info
	err := h.retry(ctx, r, func() error {
		resp, err := h.once(ctx, r)
		if err != nil {
			return err
		}
		info = resp.info()
		body := io.ReadCloser(resp)
		if err = netx.CheckWhole(resp.answer()); err == nil {
			body, err = netx.Decode(resp, resp.header())
		}
		if err != nil {
			return errors.Join(r.error(err), resp.Close())
		}
		defer body.Close()
		text, err = io.ReadAll(io.LimitReader(body, layout.MaxNarInfo+1))
		switch {
		case errors.Is(err, compress.ErrCorrupt):
			return r.error(fmt.Errorf("content-encoding: %w", err))
		case err != nil:
			return r.error(netx.BrokenOff(err))
		case len(text) > layout.MaxNarInfo:
			return r.error(fmt.Errorf("more than %d bytes", layout.MaxNarInfo))
		case isWebPage(text):
			return r.error(errWebPage)
		}
		return nil
	})
	if err != nil {
		return nil, layout.Info{}, err
	}
	info.Size = int64(len(text))
	return io.NopCloser(bytes.NewReader(text)), info, nil
}

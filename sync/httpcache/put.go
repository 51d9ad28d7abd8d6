package httpcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A PutServer is a web server that takes PUT, as a tree: our own server's
// upload URL, nginx or Apache with WebDAV, and whatever else a Nix can copy to.
//
// It cannot be listed. A Put is as much of a whole as the server makes it: those
// named write beside the final name first. Reading back gives what readers of
// the same URL get.
type PutServer struct {
	*Reader
	client *http.Client

	// ours is set once the server has answered as ours does, which then says from
	// which size on it takes a NAR in pieces.
	ours      atomic.Bool
	pieceSize atomic.Int64

	mu   sync.Mutex
	made map[string]bool // collections that were asked for
}

var _ layout.Tree = (*PutServer)(nil)

// Traits says that a web server does not tell what it has.
func (s *PutServer) Traits() layout.Traits {
	return layout.Traits{Blind: true, Lists: s.ours.Load()}
}

// ErrRefused says that a web server wants another user, or another password, or
// does not allow what is asked for. It is a fs.ErrPermission.
var ErrRefused = fmt.Errorf("refused by the server: %w", fs.ErrPermission)

// ErrReading says that a URL is for reading, for every client. It is an ErrRefused.
var ErrReading = fmt.Errorf("%w: nothing is taken at this URL", ErrRefused)

const (
	// expectFrom is the size from which a server is asked before it is sent a
	// body: it may want a password, or have the object.
	expectFrom = 1 << 20
	expectWait = 2 * time.Second
)

// OpenPut makes a tree of the server at rawURL, see Open. No request is made
// yet.
func OpenPut(rawURL string, o Options) (*PutServer, error) {
	h, err := Open(rawURL, o)
	if err != nil {
		return nil, err
	}
	t := h.transport.Clone(func(t *http.Transport) { t.ExpectContinueTimeout = expectWait })
	return &PutServer{Reader: h, made: map[string]bool{}, client: &http.Client{Transport: t, CheckRedirect: h.redirectPut}}, nil
}

// Close gives idle connections back.
func (s *PutServer) Close() error {
	s.client.CloseIdleConnections()
	return s.Reader.Close()
}

// redirectPut follows a server that wants the same request elsewhere. The other
// redirects turn a PUT into a GET, which would look like success.
func (h *Reader) redirectPut(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return errors.New("redirected, which means that it was not stored: use the URL that it is redirected to, " + req.URL.Scheme + "://" + req.URL.Host)
	}
	return h.redirect(req, via)
}

// Put stores an object.
func (s *PutServer) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if key.Kind() == layout.KindForeign {
		return fmt.Errorf("put %s: not a key of a binary cache", key)
	}
	if size := s.pieceSize.Load(); size > 0 && body.Size() > size && key.Kind() == layout.KindNAR {
		return refused(s.putPieces(ctx, key, body, size))
	}
	r := request{method: http.MethodPut, url: s.keyURL(key)}
	err := s.retry(ctx, r, func() error {
		err := s.send(ctx, r, key, body, opts)
		// To WebDAV a folder is something to make first. An nginx that misses one
		// takes that for a mistake of its own.
		if s.o.Name == nil && isStatus(err, http.StatusConflict, http.StatusNotFound, http.StatusInternalServerError) && s.makeCollections(ctx, path.Dir(string(key))) {
			err = s.send(ctx, r, key, body, opts)
		}
		return err
	})
	switch {
	case isStatus(err, http.StatusPreconditionFailed) && opts.IfAbsent:
		return fmt.Errorf("put %s: %w", key, fs.ErrExist)
	case isStatus(err, http.StatusPreconditionFailed) && opts.IfMatch != "":
		return fmt.Errorf("put %s: %w", key, layout.ErrChanged)
	case isStatus(err, http.StatusForbidden) && (key.Kind() == layout.KindPage || key.Kind() == layout.KindPin):
		return fmt.Errorf("%w: %w", layout.ErrAdminOnly, refused(err))
	}
	return refused(err)
}

// putsAtOnce is how many objects of a batch are under way at the same time.
const putsAtOnce = 16

// PutBatch puts the objects of a group side by side.
func (s *PutServer) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	return layout.PutSideBySide(ctx, s, putsAtOnce, groups...)
}

// Delete removes an object.
func (s *PutServer) Delete(ctx context.Context, key layout.Key) error {
	r := request{method: http.MethodDelete, url: s.keyURL(key)}
	err := s.retry(ctx, r, func() error { return s.send(ctx, r, key, nil, layout.PutOptions{}) })
	if isStatus(err, http.StatusNotFound, http.StatusGone) {
		return nil
	}
	return refused(err)
}

// List yields layout.ErrNotListable.
func (s *PutServer) List(context.Context, string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		yield(layout.Info{}, fmt.Errorf("list %s: %w", s.URL(), layout.ErrNotListable))
	}
}

// makeCollections makes the folders of a key, and reports whether there are
// any. It asks for each once.
func (s *PutServer) makeCollections(ctx context.Context, dir string) bool {
	if dir == "." {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[dir] {
		return true
	}
	s.made[dir] = true
	var part strings.Builder
	for name := range strings.SplitSeq(dir, "/") {
		part.WriteString(name)
		part.WriteByte('/')
		r := request{method: "MKCOL", url: s.keyURL(layout.Key(part.String()))}
		// Errors are ignored: the PUT that follows reports them.
		s.send(ctx, r, "", nil, layout.PutOptions{})
	}
	return true
}

// send makes a request that changes something, once.
func (s *PutServer) send(ctx context.Context, r request, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", key.ContentType())
		if opts.IfAbsent {
			header.Set("If-None-Match", "*")
		}
		if opts.IfMatch != "" {
			header.Set("If-Match", `"`+opts.IfMatch+`"`)
		}
		if s.ours.Load() {
			header.Set("Prefer", "handling=strict")
		}
	}
	answer, err := s.exchange(ctx, r, body, header)
	if err != nil {
		return err
	}
	defer answer.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		io.Copy(io.Discard, io.LimitReader(answer, maxErrorBody)) // so that the connection is used again
		return nil
	}
	return r.error(s.readStatus(answer))
}

// exchange makes a request with a body, once, and returns the answer whatever its
// status is.
func (s *PutServer) exchange(ctx context.Context, r request, body layout.Body, header http.Header) (*response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, r.verb(), r.url.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, r.error(netx.WithoutURL(err))
	}
	u := *r.url
	req.URL, req.Header = &u, header
	req.Header.Set("User-Agent", s.o.UserAgent)
	s.authorize(req)
	if body != nil {
		req.ContentLength = body.Size()
		if body.Size() >= expectFrom {
			req.Header.Set("Expect", "100-continue")
		}
		watch := time.AfterFunc(s.o.Stall, func() { cancel(&stalled{s.o.Stall}) })
		defer watch.Stop()
		// net/http wants another reader for a connection that broke at once.
		req.GetBody = func() (io.ReadCloser, error) {
			if body.Size() == 0 {
				return http.NoBody, nil
			}
			return io.NopCloser(&watchedReader{io.NewSectionReader(body, 0, body.Size()), watch, s.o.Stall}), nil
		}
		req.Body, _ = req.GetBody()
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if cause, ok := context.Cause(ctx).(*stalled); ok {
			err = cause
		}
		cancel(nil)
		return nil, r.error(netx.WithoutURL(err))
	}
	answer := &response{Response: resp, ctx: ctx, cancel: cancel, stall: s.o.Stall}
	answer.timer = time.AfterFunc(s.o.Stall, func() { cancel(&stalled{s.o.Stall}) })
	answer.timer.Stop()
	return answer, nil
}

// watchedReader puts a timer off with each piece that is sent.
type watchedReader struct {
	r     io.Reader
	timer *time.Timer
	after time.Duration
}

func (w *watchedReader) Read(p []byte) (int, error) {
	w.timer.Reset(w.after)
	return w.r.Read(p)
}

// ErrQuota says that a server takes no more, or nothing that large.
var ErrQuota = errors.New("the server takes no more")

var quota = regexp.MustCompile(`(?i)quota|exceed|too large|413 `)

func isStatus(err error, codes ...int) bool {
	var status *statusError
	if !errors.As(err, &status) {
		return false
	}
	for _, code := range codes {
		if status.code == code {
			return true
		}
	}
	return false
}

// refused keeps the answer to a PUT from being taken for one about an object
// that is read: 403 and 404 do not mean that something is absent.
func refused(err error) error {
	if err == nil {
		return nil
	}
	if isStatus(err, http.StatusForbidden, http.StatusRequestEntityTooLarge) && quota.MatchString(err.Error()) {
		return fmt.Errorf("%w: %s", ErrQuota, err)
	}
	if isStatus(err, http.StatusMethodNotAllowed) {
		return fmt.Errorf("%w: %s", ErrReading, err)
	}
	if isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		return fmt.Errorf("%w: %s", ErrRefused, err)
	}
	if isStatus(err, http.StatusInsufficientStorage) {
		return fmt.Errorf("the server has no room left: %s", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

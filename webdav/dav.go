package webdav

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// maxXML bounds the body of a WebDAV request, in bytes. Real ones have less than
// 2 KiB, and the library's parser goes as deep as the body nests.
const maxXML = 64 << 10

// serveDAV answers the verbs that are not those of the web.
func (h *Handler) serveDAV(w *response, r *http.Request, t *target, in *body) *failure {
	v := h.reading
	if t.upload {
		v = h.uploading
	}
	switch r.Method {
	case http.MethodOptions:
		return h.options(w, t)
	case "PROPFIND":
		if t.bad {
			return absent()
		}
		text, release, f := h.readXML(r, in)
		if f != nil {
			return f
		}
		q, err := readPropfind(text)
		release()
		if err != nil {
			return &failure{status: http.StatusBadRequest, text: "the body of the PROPFIND cannot be read: " + err.Error()}
		}
		return v.propfind(w, r, t, q)
	case "LOCK", "UNLOCK", "MKCOL", "PROPPATCH":
		if !t.upload {
			return h.misplaced(w)
		}
		if t.bad {
			return &failure{status: http.StatusBadRequest, text: "this is no name in a binary cache"}
		}
		if r.Method == "PROPPATCH" {
			return h.proppatch(w, r, t, in)
		}
		return h.library(w, r, t, in)
	case http.MethodDelete, "MOVE", "COPY":
		if !t.upload {
			return h.misplaced(w)
		}
		return h.remove(w, r, t)
	}
	w.Header().Set("Allow", h.allowed(t))
	return &failure{status: http.StatusMethodNotAllowed, text: "this method is not for a binary cache"}
}

func (h *Handler) allowed(t *target) string {
	if t.upload {
		return "OPTIONS, GET, HEAD, PUT, PROPFIND, PROPPATCH, MKCOL, LOCK, UNLOCK"
	}
	return "OPTIONS, GET, HEAD, PROPFIND"
}

// options tells what may be done. Finder mounts read-only what is not of class 2,
// and Explorer wants the last header.
func (h *Handler) options(w *response, t *target) *failure {
	header := w.Header()
	header.Set("Allow", h.allowed(t))
	header.Set("DAV", "1")
	if t.upload {
		header.Set("DAV", "1, 2")
	}
	header.Set("MS-Author-Via", "DAV")
	header["Content-Length"] = zero
	w.WriteHeader(http.StatusOK)
	return nil
}

// remove refuses what would take an object away. It allows removing files that are kept
// aside and empty folders that a client made: no object is lost by that.
func (h *Handler) remove(w *response, r *http.Request, t *target) *failure {
	if r.Method == http.MethodDelete && h.uploading.forget(r.Context(), t.name) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if _, err := h.uploading.stat(r.Context(), t.name); isAbsent(err) || t.bad {
		return absent()
	} else if err != nil {
		return failureOf(err)
	}
	if r.Method == http.MethodDelete {
		return &failure{status: http.StatusForbidden,
			text: "objects are removed with the command nixstatic on the server, which knows what leads to them, not over WebDAV"}
	}
	return &failure{status: http.StatusForbidden, text: "the name of an object is made of its content: it cannot be moved or copied, only uploaded"}
}

// readXML reads the body of a WebDAV request, when its client has its turn. Its second
// result is to be called when the body is not needed any more.
func (h *Handler) readXML(r *http.Request, in *body) (text []byte, release func(), _ *failure) {
	release, f := h.aside(r, in)
	if f != nil {
		return nil, nil, f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxXML+1))
	switch {
	case err != nil:
		f = failureOf(&inbox.BodyError{Err: err})
	case len(text) > maxXML:
		f = &failure{status: http.StatusBadRequest, text: fmt.Sprintf("the body has more than %d bytes", maxXML)}
	default:
		return text, release, nil
	}
	release()
	return nil, nil, f
}

// library hands a request to golang.org/x/net/webdav, after what that would take
// without bounds or answer with 500.
func (h *Handler) library(w *response, r *http.Request, t *target, in *body) *failure {
	text, release, f := h.readXML(r, in)
	if f != nil {
		return f
	}
	defer release()
	r2 := r.Clone(r.Context())
	r2.Body = io.NopCloser(bytes.NewReader(text))
	switch r.Method {
	case "LOCK":
		// Without a Timeout the library's locks are for ever; it also answers with
		// what it was asked for, and not with what it got.
		r2.Header.Set("Timeout", "Second-"+strconv.Itoa(int(lockTime(r.Header.Get("Timeout"))/time.Second)))
		if f := h.lockable(r, t); f != nil {
			return f
		}
		r2.Header.Set("Depth", "0") // where a file is meant, both are the same
	case "MKCOL":
		if _, err := h.uploading.stat(r.Context(), t.name); isAbsent(err) && !isFolder(t.name) {
			return &failure{status: http.StatusForbidden, text: "a binary cache has no folder of that name"}
		} else if err != nil && !isAbsent(err) {
			return failureOf(err)
		}
	}
	w.Header()["Cache-Control"] = noStore
	dav := xwebdav.Handler{FileSystem: h.uploading, LockSystem: lockSystem{h.locks, share.From(r.Context())}}
	dav.ServeHTTP(w, r2)
	return nil
}

// lockTime reads a Timeout header: the first of "Infinite" and "Second-n" that
// can be read (RFC 4918, 10.7).
func lockTime(header string) time.Duration {
	for one := range strings.SplitSeq(header, ",") {
		n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(one), "Second-"), 10, 32)
		if err == nil {
			return max(time.Second, min(time.Duration(n)*time.Second, maxLockTime))
		}
	}
	return maxLockTime
}

// lockable answers a LOCK of all that is in a folder, and of a name that is free
// and cannot be an object of the cache. Locking makes a placeholder of it.
func (h *Handler) lockable(r *http.Request, t *target) *failure {
	ctx := r.Context()
	e, err := h.uploading.stat(ctx, t.name)
	if err == nil && e.folder && r.Header.Get("Depth") != "0" {
		return &failure{status: http.StatusForbidden, text: "a folder is everyone's: lock the files that you write"}
	}
	if err == nil || isScratch(t.name) {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return failureOf(err)
	}
	if t.slash {
		return &failure{status: http.StatusConflict, text: "there is no such folder"}
	}
	if err := h.inbox.Check(ctx, t.key, inbox.Options{Size: -1}); err != nil {
		return failureOf(fmt.Errorf("lock %s: %w", t.name, err))
	}
	return nil
}

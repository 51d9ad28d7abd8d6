package webdav

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// A NAR may be sent in pieces, each with a PUT of the NAR's own URL and a
// Content-Range (RFC 9110, 14.4). A PUT without a body, whose Content-Range says only
// how large the whole is, asks how far it is, and ends the upload if nothing is
// missing:
//
//	PUT /upload/nar/….nar.zst   Content-Range: bytes 0-33554431/5000000000   201
//	PUT /upload/nar/….nar.zst   Content-Range: bytes */5000000000            202 and JSON, or as for the whole

// joinPatience is how long a client waits for its NAR to be put together before it is
// told to ask again. Proxies give up after a minute.
const joinPatience = 20 * time.Second

// A pieceRange is what a Content-Range says.
type pieceRange struct {
	offset, size, total int64
	ask                 bool // "*": it is about none of the bytes
}

// parsePieceRange reads the Content-Range of a PUT.
func parsePieceRange(text string) (pieceRange, error) {
	malformed := fmt.Errorf("the Content-Range %.60q is not of the form bytes 0-9/100 or bytes */100", text)
	rest, ok := strings.CutPrefix(text, "bytes ")
	part, whole, slash := strings.Cut(rest, "/")
	total, err := parseCount(whole)
	if !ok || !slash || err != nil {
		return pieceRange{}, malformed
	}
	if part == "*" {
		return pieceRange{total: total, ask: true}, nil
	}
	first, last, dash := strings.Cut(part, "-")
	from, err := parseCount(first)
	to, err2 := parseCount(last)
	if !dash || err != nil || err2 != nil || from > to || to >= total {
		return pieceRange{}, malformed
	}
	return pieceRange{offset: from, size: to - from + 1, total: total}, nil
}

// parseCount reads a number of bytes, in digits alone.
func parseCount(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	return int64(n), err
}

// putPart takes a piece of a NAR, or ends its upload.
func (h *Handler) putPart(w *response, r *http.Request, t *target, in *body) *failure {
	part, err := parsePieceRange(r.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return &failure{status: http.StatusBadRequest, result: ResultHeader, text: err.Error()}
	case r.Header.Get("Content-Encoding") != "":
		return &failure{status: http.StatusBadRequest, result: ResultHeader, text: "a piece of a NAR is sent as it is, without a Content-Encoding"}
	case r.ContentLength != part.size:
		return &failure{status: http.StatusBadRequest, result: ResultHeader, text: "the body has not the size that its Content-Range says"}
	}
	if part.ask {
		return h.join(w, r, t, part.total)
	}
	ctx := r.Context()
	if err := h.inbox.CheckPiece(ctx, t.key, part.offset, part.size, part.total); err != nil {
		return failureOf(err)
	}
	place, f := h.place(r, layout.KindNAR, false)
	if f != nil {
		return f
	}
	defer place.Release()
	if err := h.inbox.PutPiece(ctx, t.key, part.offset, part.size, part.total, in); err != nil {
		return failureOf(err)
	}
	return created(w, inbox.Created)
}

// A partAnswer says how far a NAR is that is sent in pieces.
type partAnswer struct {
	Version   int     `json:"version"`
	PieceSize int64   `json:"pieceSize"`          // bytes
	Missing   []int64 `json:"missing"`            // the first bytes of the pieces that are to be sent
	Checking  bool    `json:"checking,omitempty"` // nothing is missing: ask again for the outcome
}

// join ends the upload of a NAR, or tells what is missing of it.
func (h *Handler) join(w *response, r *http.Request, t *target, total int64) *failure {
	state, err := h.inbox.Join(r.Context(), t.key, total, joinPatience)
	switch {
	case err != nil:
		return failureOf(err)
	case len(state.Missing) == 0 && !state.Checking:
		return created(w, state.Outcome)
	}
	if state.Checking {
		w.Header().Set("Retry-After", "1")
	}
	return answerJSON(w, http.StatusAccepted, partAnswer{1, inbox.PieceSize, append([]int64{}, state.Missing...), state.Checking})
}

// answerJSON writes a value that is for programs.
func answerJSON(w *response, status int, v any) *failure {
	text, err := json.Marshal(v)
	if err != nil {
		return failureOf(err)
	}
	header := w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = nosniff
	header["Content-Type"] = []string{"application/json"}
	header["Content-Length"] = []string{strconv.Itoa(len(text) + 1)}
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
	return nil
}

package webdav

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// A Pinner gives a pin a new generation.
type Pinner interface {
	// Pin pins paths under a name. The error is a *PinError if they cannot be pinned.
	Pin(ctx context.Context, name string, paths []layout.StorePath) error
}

// A PinError says why a pin is not taken.
type PinError struct{ Msg string } // one line for the client

func (e *PinError) Error() string { return e.Msg }

// putPin takes a pin, which keeps paths for as long as its owner wants: PUT pins/<name>
// with a store path on each line, as a reader gets them.
func (h *Handler) putPin(w *response, r *http.Request, t *target, in *body) *failure {
	if h.cfg.Pins == nil {
		return &failure{status: http.StatusForbidden, result: string(inbox.ForeignKey), text: "this server takes no pins: nixstatic pin makes them where the cache is"}
	}
	place, f := h.place(r, t.kind, true)
	if f != nil {
		return f
	}
	defer place.Release()
	text, err := io.ReadAll(io.LimitReader(in, layout.MaxNarInfo+1))
	if err != nil {
		return failureOf(&inbox.BodyError{Err: err})
	}
	if len(text) > layout.MaxNarInfo {
		return &failure{status: http.StatusRequestEntityTooLarge, result: string(inbox.TooLarge), text: "a pin has too many paths"}
	}
	var paths []layout.StorePath
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		p, err := layout.ParseAbsStorePath(h.cfg.StoreDir, line)
		if err != nil {
			return &failure{status: http.StatusUnprocessableEntity, result: ResultHeader, text: "a pin has a store path in " + h.cfg.StoreDir + " on each line"}
		}
		paths = append(paths, p)
	}
	if len(paths) == 0 {
		return &failure{status: http.StatusUnprocessableEntity, result: string(inbox.Empty), text: "a pin keeps one store path at least"}
	}
	err = h.cfg.Pins.Pin(r.Context(), strings.TrimPrefix(string(t.key), layout.PinsFolder), paths)
	if refused := (*PinError)(nil); errors.As(err, &refused) {
		return &failure{status: http.StatusConflict, result: string(inbox.Conflict), text: refused.Msg}
	}
	if err != nil {
		return failureOf(err)
	}
	return created(w, inbox.Created)
}

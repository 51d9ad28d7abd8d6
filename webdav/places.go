package webdav

import (
	"errors"
	"net/http"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// smallMemory bounds the bytes that uploads have in memory whose objects are
	// read whole: records, of which none is larger than largestSmall. Each counts as
	// smallestSmall at least, which bounds their number.
	smallMemory   = 32 << 20
	largestSmall  = layout.MaxNarInfo
	smallestSmall = 64 << 10
	// maxAside is how many bodies of WebDAV and notes are read at the same time. Each
	// is in memory, up to maxXML bytes of it and what they are parsed to.
	maxAside = 256
)

// places are what uploads share while they are under way. NARs and logs have a
// place each, as many as a server takes at the same time. Everything else is small,
// comes in great number, and counts by its bytes. Aside are the bodies of WebDAV.
type places struct{ bulky, small, aside *share.Pool }

func newPlaces(uploads int, wait, patience time.Duration) places {
	return places{share.NewPool(int64(uploads), wait), share.NewPool(smallMemory, wait), share.NewPool(maxAside, patience)}
}

// aside waits for the turn of a body of WebDAV, or of a note. A request without a body needs
// none.
func (h *Handler) aside(r *http.Request, in *body) (release func(), _ *failure) {
	if in.eof {
		return func() {}, nil
	}
	part, err := h.places.aside.Take(share.Hurried(r.Context(), in.hurry), 1)
	if errors.Is(err, share.ErrBusy) {
		return nil, &failure{status: http.StatusServiceUnavailable, text: "too many requests are being read, try again", retryAfter: 5 * time.Second}
	} else if err != nil {
		return nil, failureOf(err)
	}
	return part.Release, nil
}

// place waits for the turn of an upload. The body of a client that has to wait is not
// read, and its wait hurries the clients that hold more.
func (h *Handler) place(r *http.Request, kind layout.Kind, encoded bool) (*share.Part, *failure) {
	pool, size := h.places.bulky, int64(1)
	if kind != layout.KindNAR && kind != layout.KindLog {
		pool, size = h.places.small, r.ContentLength
		if size < 0 || encoded {
			size = largestSmall
		}
		size = max(smallestSmall, min(size, largestSmall))
	}
	part, err := pool.Take(r.Context(), size)
	if err != nil {
		return nil, failureOf(err)
	}
	return part, nil
}

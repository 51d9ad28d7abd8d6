package webdav

import (
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
)

// places are what uploads share while they are under way. NARs and logs have a
// place each, as many as a server takes at the same time. Everything else is small,
// comes in great number, and counts by its bytes.
type places struct{ bulky, small *share.Pool }

func newPlaces(uploads int, wait time.Duration) places {
	return places{share.NewPool(int64(uploads), wait), share.NewPool(smallMemory, wait)}
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

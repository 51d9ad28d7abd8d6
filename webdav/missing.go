package webdav

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A client that is about to send many paths may ask for all of them at once:
// POST /upload/?missing, with the hash of a store path on each line. A Nix asks for
// each with a request of its own, and is answered the same.

const (
	// maxAsked bounds the paths of one question.
	maxAsked = 10_000
	// maxQuestion is in bytes: 32 of a hash and the end of its line, which may be CR LF.
	maxQuestion = maxAsked * 34
	// lookupsOfPath is what the answer for a path costs: its narinfo is read and its NAR
	// looked for, and where a run asks, once more.
	lookupsOfPath = 3
	// askers is how many paths are looked up at the same time for one question.
	askers = 16
)

// A missingAnswer names the paths that are to be sent.
type missingAnswer struct {
	Version   int      `json:"version"`
	Missing   []string `json:"missing"`   // hashes, in the order of the question
	PieceSize int64    `json:"pieceSize"` // a larger NAR may be sent in pieces of so many bytes
}

func asksMissing(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.RawQuery == "missing"
}

// missing answers which paths the tree lacks, or has in a manner that is of no use. At
// the URL of a run, the run relies on the others from then on.
func (h *Handler) missing(w *response, r *http.Request, t *target, in *body) *failure {
	// The question costs about as much as the largest record, whatever its length.
	place, err := h.places.small.Take(share.Hurried(r.Context(), in.hurry), largestSmall)
	if err != nil {
		return failureOf(err)
	}
	defer place.Release()
	hashes, f := readHashes(in)
	if f != nil {
		return f
	}
	if err := h.inbox.Afford(r.Context(), lookupsOfPath*len(hashes)); err != nil {
		return failureOf(err)
	}
	if t.run != nil {
		if f := h.noteMany(r, t, hashes); f != nil {
			return f
		}
	}
	stored, err := h.inbox.Stored(r.Context(), hashes)
	if err != nil {
		return failureOf(err)
	}
	if h.cfg.Upstream != nil {
		if err := h.elsewhere(r.Context(), hashes, stored); err != nil {
			return failureOf(err)
		}
	}
	answer := missingAnswer{Version: 1, Missing: []string{}, PieceSize: inbox.PieceSize}
	for i, hash := range hashes {
		if !stored[i] {
			answer.Missing = append(answer.Missing, hash)
		}
	}
	return answerJSON(w, http.StatusOK, answer)
}

// elsewhere adds what an upstream has to what the tree has.
func (h *Handler) elsewhere(ctx context.Context, hashes []string, stored []bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askers)
	for i, hash := range hashes {
		if stored[i] {
			continue
		}
		group.Go(func() error {
			_, err := h.cfg.Upstream.Has(ctx, hash)
			stored[i] = err == nil // as for a Nix: if no upstream can tell, the path is to be sent
			return ctx.Err()
		})
	}
	return group.Wait()
}

// noteMany writes down what a run relies on, before it is told that it is there.
func (h *Handler) noteMany(r *http.Request, t *target, hashes []string) *failure {
	there := make([]bool, len(hashes))
	group, ctx := errgroup.WithContext(r.Context())
	group.SetLimit(askers)
	for i, hash := range hashes {
		group.Go(func() (err error) {
			_, there[i], err = layout.Lookup(ctx, h.cfg.Tree, layout.NarInfoKeyOf(hash))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return unreadable(err)
	}
	var relied []string
	for i, hash := range hashes {
		if there[i] {
			relied = append(relied, hash)
		}
	}
	if len(relied) == 0 {
		return nil
	}
	return h.list(r, t, relied...)
}

// readHashes reads the question. Each path is in it once: the answer to a line may cost
// much more than the line.
func readHashes(in *body) (hashes []string, _ *failure) {
	asked, seen := 0, map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(in, maxQuestion+1))
	lines.Buffer(nil, 256)
	for lines.Scan() {
		hash := lines.Text()
		if layout.NarInfoKeyOf(hash).PathHash() != hash {
			return nil, &failure{status: http.StatusBadRequest, text: fmt.Sprintf("%.40q is not the hash of a store path: one of 32 characters is expected on each line", hash)}
		}
		if asked++; asked > maxAsked {
			return nil, &failure{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("no more than %d paths are asked for at once", maxAsked)}
		}
		if !seen[hash] {
			hashes = append(hashes, hash)
		}
		seen[hash] = true
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &failure{status: http.StatusBadRequest, text: "a line is too long: the hash of a store path has 32 characters"}
	case err != nil:
		return nil, failureOf(&inbox.BodyError{Err: err})
	}
	return hashes, nil
}

package httpcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// Our own server can do more than take a PUT: it tells of many paths at once which it
// lacks, and takes a large NAR in pieces, of which none is sent twice. The package webdav
// tells the form of questions and answers.

const (
	// askAtOnce is how many paths one question is about.
	askAtOnce = 10_000
	// maxAnswer bounds the answer to one: a hash and its quotes for each path.
	maxAnswer = 1 << 20
	// piecesAtOnce is how many pieces of one NAR are under way at the same time.
	piecesAtOnce = 2
	// joinRounds is how often a server may miss pieces again that it was sent: another
	// server of the tree may have been restored, or tidied.
	joinRounds = 8
	// A server that checks a NAR is asked again after this pause, unless it names one.
	joinPause = time.Second
)

// Missing returns those of the paths that the server wants to be sent: it lacks them, or
// has them in a manner that is of no use. The error is errors.ErrUnsupported if the
// server cannot be asked for many paths at once.
func (s *PutServer) Missing(ctx context.Context, paths []layout.StorePath) (map[layout.StorePath]bool, error) {
	missing := map[layout.StorePath]bool{}
	if len(paths) == 0 {
		return missing, s.ask(ctx, nil, missing)
	}
	for part := range slices.Chunk(paths, askAtOnce) {
		if err := s.ask(ctx, part, missing); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

func (s *PutServer) ask(ctx context.Context, paths []layout.StorePath, missing map[layout.StorePath]bool) error {
	byHash := make(map[string]layout.StorePath, len(paths))
	var question strings.Builder
	for _, p := range paths {
		byHash[p.Hash()] = p
		question.WriteString(p.Hash())
		question.WriteByte('\n')
	}
	u := *s.base
	u.RawQuery = "missing"
	r := request{method: http.MethodPost, url: &u}
	var answer struct {
		Version   int
		Missing   []string
		PieceSize int64
	}
	err := s.retry(ctx, r, func() error {
		return s.askJSON(ctx, r, layout.Bytes([]byte(question.String())), http.Header{"Content-Type": {"text/plain"}}, http.StatusOK, &answer)
	})
	switch {
	case isStatus(err, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest), errors.Is(err, errNotJSON):
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	case err != nil:
		return refused(err)
	case answer.Version != 1:
		return fmt.Errorf("%w: it answers in version %d", errors.ErrUnsupported, answer.Version)
	}
	for _, hash := range answer.Missing {
		p, asked := byHash[hash]
		if !asked {
			return r.error(fmt.Errorf("it names a path that it was not asked for: %.40q", hash))
		}
		missing[p] = true
	}
	s.pieceSize.Store(max(0, answer.PieceSize))
	s.ours.Store(true)
	return nil
}

var errNotJSON = errors.New("the answer is not the JSON that was asked for")

// askJSON makes a request once, and reads an answer in JSON.
func (s *PutServer) askJSON(ctx context.Context, r request, body layout.Body, header http.Header, success int, into any) error {
	answer, err := s.exchange(ctx, r, body, header)
	if err != nil {
		return err
	}
	defer answer.Close()
	if answer.StatusCode != success {
		return r.error(s.readStatus(answer))
	}
	text, err := io.ReadAll(io.LimitReader(answer, maxAnswer+1))
	switch {
	case err != nil:
		return r.error(netx.BrokenOff(err))
	case len(text) > maxAnswer || json.Unmarshal(text, into) != nil:
		return r.error(errNotJSON)
	}
	return nil
}

// putPieces sends a NAR in pieces of a size.
func (s *PutServer) putPieces(ctx context.Context, key layout.Key, body layout.Body, size int64) error {
	r := request{method: http.MethodPut, url: s.keyURL(key)}
	for round := 0; ; {
		var state struct {
			PieceSize int64
			Missing   []int64
			Checking  bool
		}
		done := false
		pause := joinPause
		err := s.retry(ctx, r, func() error {
			answer, err := s.exchange(ctx, r, layout.Bytes(nil), http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", body.Size())}})
			if err != nil {
				return err
			}
			defer answer.Close()
			switch answer.StatusCode {
			case http.StatusOK, http.StatusCreated, http.StatusNoContent:
				done = true
				return nil
			case http.StatusAccepted:
			default:
				return r.error(s.readStatus(answer))
			}
			if wait := retryAfter(answer.header().Get("Retry-After"), time.Now()); wait > 0 {
				pause = min(wait, maxRetryDelay)
			}
			text, err := io.ReadAll(io.LimitReader(answer, maxAnswer+1))
			if err != nil {
				return r.error(netx.BrokenOff(err))
			}
			if json.Unmarshal(text, &state) != nil || state.PieceSize <= 0 {
				return r.error(errNotJSON)
			}
			return nil
		})
		if err != nil || done {
			return err
		}
		if len(state.Missing) == 0 {
			sleep := netx.Sleep
			if s.again.Sleep != nil {
				sleep = s.again.Sleep
			}
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		if round++; round > joinRounds {
			return r.error(fmt.Errorf("the server misses pieces that it was sent, after %d rounds", joinRounds))
		}
		if err := s.sendPieces(ctx, r, body, state.PieceSize, state.Missing); err != nil {
			return err
		}
	}
}

// sendPieces sends the pieces of a body that begin at offsets.
func (s *PutServer) sendPieces(ctx context.Context, r request, body layout.Body, size int64, offsets []int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(piecesAtOnce)
	for _, offset := range offsets {
		if offset < 0 || offset >= body.Size() {
			return r.error(fmt.Errorf("the server wants the bytes from %d on of %d", offset, body.Size()))
		}
		length := min(size, body.Size()-offset)
		header := func() http.Header {
			return http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, body.Size())}}
		}
		group.Go(func() error {
			return s.retry(ctx, r, func() error {
				answer, err := s.exchange(ctx, r, io.NewSectionReader(body, offset, length), header())
				if err != nil {
					return err
				}
				defer answer.Close()
				if answer.StatusCode != http.StatusCreated && answer.StatusCode != http.StatusNoContent {
					return r.error(s.readStatus(answer))
				}
				return nil
			})
		})
	}
	return group.Wait()
}

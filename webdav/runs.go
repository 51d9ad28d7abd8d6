package webdav

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
)

// rootFolder begins the URLs of runs, below the upload URL: root/<root>/<run>/<key>.
const rootFolder = "root/"

// cutRun reads the run that a name below the upload URL begins with, if it does, and
// returns the rest. Both the name of a root and a key may have several parts: the
// shortest end that is a key is one.
func (t *target) cutRun(name string) string {
	rest, ok := strings.CutPrefix(name, rootFolder)
	if !ok {
		return name
	}
	for end := strings.LastIndexByte(rest, '/'); end > 0; end = strings.LastIndexByte(rest[:end], '/') {
		key, err := layout.ParseKey(rest[end+1:])
		if err != nil || key.Kind() >= layout.KindPrivate {
			continue
		}
		last := strings.LastIndexByte(rest[:end], '/')
		id, err := layout.MakeRunID(rest[:max(0, last)], rest[last+1:end])
		if err != nil {
			t.norun = err
			return name
		}
		t.run = &id
		return string(key)
	}
	t.norun = errors.New("it ends in no file of a binary cache")
	return name
}

// cutRunRoot reads the run that is all of a name below the upload URL, if it is one.
func (t *target) cutRunRoot(name string) string {
	rest, ok := strings.CutPrefix(name, rootFolder)
	if !ok {
		return name
	}
	root, run := "", rest
	if last := strings.LastIndexByte(rest, '/'); last > 0 {
		root, run = rest[:last], rest[last+1:]
	}
	id, err := layout.MakeRunID(root, run)
	if err != nil {
		t.norun = err
		return name
	}
	t.run = &id
	return ""
}

type runKey struct{}

func withRun(ctx context.Context, run layout.RunID) context.Context {
	return context.WithValue(ctx, runKey{}, run)
}

// RunOf returns the run that the URL of a request names, for an Authenticator.
func RunOf(r *http.Request) (run layout.RunID, ok bool) {
	run, ok = r.Context().Value(runKey{}).(layout.RunID)
	return run, ok
}

// misnamed answers a URL of a run that names none.
func (h *Handler) misnamed(why error) *failure {
	return &failure{status: http.StatusBadRequest, result: string(inbox.ForeignKey),
		text: fmt.Sprintf("the URL of a run is %s%sNAME/RUN: %v", h.prefix, rootFolder, why)}
}

// note writes down what a run pushes or relies upon, before it is told that it is
// there. Only narinfos are told of: what else a run needs hangs on them.
func (h *Handler) note(r *http.Request, t *target) *failure {
	if t.kind != layout.KindNarInfo {
		return nil
	}
	switch r.Method {
	case http.MethodPut:
	case http.MethodGet, http.MethodHead:
		_, err := h.cfg.Tree.Stat(r.Context(), t.key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the client relies on nothing
		}
		if err != nil {
			return unreadable(err)
		}
	default:
		return nil
	}
	return h.list(r, t, t.key.PathHash())
}

// listedBytes is what a path costs in the list of a run.
const listedBytes = 33

// list writes down that a run relies on paths.
func (h *Handler) list(r *http.Request, t *target, hashes ...string) *failure {
	err := h.inbox.RoomForRecord(r.Context(), listedBytes*int64(len(hashes)))
	if err == nil {
		err = h.cfg.Roots.Note(r.Context(), *t.run, hashes...)
	}
	if err != nil {
		return failureOf(err)
	}
	return nil
}

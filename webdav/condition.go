package webdav

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// preconditions answers a PUT that depends on what is there: If-Match,
// If-None-Match, and the locks and the If header of WebDAV (RFC 4918, 10.4).
// They are looked at before the body is asked for. Two clients that both ask
// for the key to be free may both pass: what one key may hold is decided by the
// rules of uploading, which let no one be overwritten.
func (h *Handler) preconditions(r *http.Request, t *target, c client) *failure {
	match, noneMatch := r.Header["If-Match"], r.Header["If-None-Match"]
	state := r.Header.Get("If")
	if match == nil && noneMatch == nil && state == "" {
		return h.unlocked(r, t, c, nil)
	}
	info, err := h.uploaded(c, r).Stat(r.Context(), t.key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failureOf(err)
	}
	there := err == nil
	etag := ""
	if info.ETag != "" {
		etag = `"` + info.ETag + `"`
	}
	failed := &failure{status: http.StatusPreconditionFailed, result: ResultExists, text: "not as the request demands: the object is there already, or was changed"}
	if match != nil && !(there && listed(match, etag)) || noneMatch != nil && there && listed(noneMatch, etag) {
		return failed
	}
	if state == "" {
		return h.unlocked(r, t, c, nil)
	}
	lists, ok := parseIf(state)
	if !ok {
		return &failure{status: http.StatusBadRequest, result: ResultHeader, text: "the If header cannot be read"}
	}
	name := h.prefix + t.name
	holds := slices.ContainsFunc(lists, func(l ifList) bool {
		return !slices.ContainsFunc(l.conditions, func(c ifCondition) bool {
			// The resource that a tag names is not looked up: a PUT has only one.
			yes := c.etag != "" && c.etag == etag || c.token != "" && h.locks.covers(c.token, name)
			return yes == c.not
		})
	})
	if f := h.unlocked(r, t, c, lists); f != nil {
		return f
	}
	if !holds {
		return failed
	}
	return nil
}

// unlocked answers a change to what the client has locked by another program,
// and to a page that anyone has. Lists are what this program says it holds. Nix
// knows nothing of locks.
func (h *Handler) unlocked(r *http.Request, t *target, c client, lists []ifList) *failure {
	token := h.locks.holder(share.From(r.Context()), h.prefix+t.name)
	if token == "" || c.nix && t.kind != layout.KindPage {
		return nil
	}
	for _, l := range lists {
		if slices.ContainsFunc(l.conditions, func(c ifCondition) bool { return c.token == token && !c.not }) {
			return nil
		}
	}
	return &failure{status: http.StatusLocked, result: ResultExists, text: "locked by another WebDAV program"}
}

// listed reports whether If-Match or If-None-Match names the ETag, or everything.
func listed(values []string, etag string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == "*" || etag != "" && one == etag {
				return true
			}
		}
	}
	return false
}

// An ifList is one parenthesis of an If header: all of it has to be true, and
// one such list is enough.
type ifList struct{ conditions []ifCondition }

type ifCondition struct {
	not         bool
	token, etag string // one of them
}

// maxIf bounds the conditions of an If header.
const maxIf = 64

// parseIf reads an If header: lists such as (<token> ["etag"] Not <token>), each
// optionally behind the <resource> it is about.
func parseIf(s string) ([]ifList, bool) {
	var lists []ifList
	sum := 0
	for s = strings.TrimLeft(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		if s[0] == '<' {
			_, rest, ok := strings.Cut(s, ">")
			if s = strings.TrimLeft(rest, " \t"); !ok || !strings.HasPrefix(s, "(") {
				return nil, false
			}
		}
		if s[0] != '(' {
			return nil, false
		}
		s = s[1:]
		var list ifList
		for {
			s = strings.TrimLeft(s, " \t")
			if rest, ok := strings.CutPrefix(s, ")"); ok {
				s = rest
				break
			}
			var c ifCondition
			if rest, ok := strings.CutPrefix(s, "Not"); ok {
				c.not, s = true, strings.TrimLeft(rest, " \t")
			}
			var ok bool
			switch {
			case strings.HasPrefix(s, "<"):
				c.token, s, ok = strings.Cut(s[1:], ">")
			case strings.HasPrefix(s, "["):
				c.etag, s, ok = strings.Cut(s[1:], "]")
			}
			if sum++; !ok || c.token == "" && c.etag == "" || sum > maxIf {
				return nil, false
			}
			list.conditions = append(list.conditions, c)
		}
		if len(list.conditions) == 0 {
			return nil, false
		}
		lists = append(lists, list)
	}
	return lists, len(lists) > 0
}

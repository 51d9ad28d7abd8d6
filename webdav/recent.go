package webdav

import (
	"net/http"
	"strconv"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/recent"
)

// lately remembers the small objects that were asked for lately, most of all narinfos,
// which every client asks for first. A remembered object is believed only if the tree
// still has this very version, so that a reader gets what is there at that moment: it
// saves opening and reading a file, not looking at it.
type lately = recent.Table[layout.Key, *remembered]

// recentBudget is in bytes.
const recentBudget = 16 << 20

type remembered struct {
	etag                       string
	text                       []byte
	quoted, length, modifiedAt []string // values of headers, shared by all answers
}

func newRemembered(info layout.Info, text []byte) *remembered {
	o := &remembered{etag: info.ETag, text: text, length: []string{strconv.Itoa(len(text))}}
	if info.ETag != "" {
		o.quoted = []string{`"` + info.ETag + `"`}
	}
	if !info.ModTime.IsZero() {
		o.modifiedAt = []string{info.ModTime.UTC().Format(http.TimeFormat)}
	}
	return o
}

// send answers with the whole object, in one write.
func (o *remembered) send(w *response) {
	h := w.Header()
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = o.length
	if o.quoted != nil {
		h["Etag"] = o.quoted
	}
	if o.modifiedAt != nil {
		h["Last-Modified"] = o.modifiedAt
	}
	w.Write(o.text)
}

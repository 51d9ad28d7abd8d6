package webdav

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/recent"
)

// lately remembers the small objects that were asked for lately, most of all narinfos,
// which every client asks for first. A remembered object is believed only if the tree
// still has this very version, so that a reader gets what is there at that moment; readers
// who ask at the same moment share a look.
type lately struct {
	recent.Table[layout.Key, *remembered]
	fresh   time.Duration // see Config.Fresh
	began   time.Time
	changed atomic.Int64 // when a request last changed something, in nanoseconds since began
	date    atomic.Pointer[date]
}

// A date is what the header says in one second.
type date struct {
	second int64
	text   []string
}

func newLately(fresh time.Duration) *lately {
	return &lately{Table: recent.Table[layout.Key, *remembered]{Limit: recentBudget}, fresh: fresh, began: time.Now()}
}

// of returns what is remembered of a key that a target leads to; nil for nothing.
func (l *lately) of(t *target, key layout.Key) *remembered {
	if l == nil {
		return nil
	}
	if t.known != nil && t.known.key == key {
		return t.known
	}
	o, _ := l.Get(key)
	return o
}

// touch says that a request may have changed what the tree has.
func (l *lately) touch() { l.changed.Store(int64(time.Since(l.began))) }

// isFresh reports whether the tree was seen to have the object a moment before.
func (l *lately) isFresh(o *remembered, now time.Time) bool {
	seen := o.seen.Load()
	return int64(now.Sub(l.began))-seen < int64(l.fresh) && seen > l.changed.Load()
}

// look notes that the tree was seen to have the object at a time after this one.
func (l *lately) look(o *remembered, now time.Time) { o.seen.Store(int64(now.Sub(l.began))) }

// recentBudget is in bytes.
const recentBudget = 16 << 20

type remembered struct {
	seen                       atomic.Int64 // nanoseconds since lately.began
	key                        layout.Key
	kind                       layout.Kind
	etag                       string
	text                       []byte
	quoted, length, modifiedAt []string // values of headers, shared by all answers
}

func newRemembered(info layout.Info, text []byte) *remembered {
	o := &remembered{key: info.Key, kind: info.Key.Kind(), etag: info.ETag, text: text, length: []string{strconv.Itoa(len(text))}}
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
	o.setHeaders(w.Header())
	w.Write(o.text)
}

// send answers with an object that is fresh, to a request that came just now. The date is
// written out once a second, and not for each answer as net/http would.
func (l *lately) send(w *response, o *remembered, now time.Time) {
	h := w.Header()
	o.setHeaders(h)
	d := l.date.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, []string{now.UTC().Format(http.TimeFormat)}}
		l.date.Store(d)
	}
	h["Date"] = d.text
	w.writeWhole(o.text, now)
}

func (o *remembered) setHeaders(h http.Header) {
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = o.length
	if o.quoted != nil {
		h["Etag"] = o.quoted
	}
	if o.modifiedAt != nil {
		h["Last-Modified"] = o.modifiedAt
	}
}

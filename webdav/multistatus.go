package webdav

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"

	"github.com/nixstatic/nixstatic/layout/share"
)

// A multistatus is the answer to a PROPFIND, sent piece by piece.
type multistatus struct {
	w      *response
	v      *view
	client share.Client // who asks
	q      *query
	buf    []byte
	sent   int
}

const piece = 32 << 10

// add writes one entry.
func (m *multistatus) add(e *entry) error {
	b := m.buf
	if m.sent == 0 && len(b) == 0 {
		b = append(make([]byte, 0, piece+4<<10), xml.Header+`<D:multistatus xmlns:D="DAV:">`...)
	}
	b = append(b, "\n<D:response><D:href>"...)
	href := m.v.root + e.name
	if e.folder && e.name != "" {
		href += "/"
	}
	b = appendText(b, (&url.URL{Path: href}).EscapedPath())
	b = append(b, "</D:href><D:propstat><D:prop>"...)
	var missing []*property
	for _, p := range m.q.known {
		if e.folder && !p.folder {
			missing = append(missing, p)
			continue
		}
		before := len(b)
		b = append(append(append(b, "<D:"...), p.name...), '>')
		inside := len(b)
		var ok bool
		if b, ok = p.value(b, m, e); !ok {
			b, missing = b[:before], append(missing, p)
			continue
		}
		if m.q.namesOnly || len(b) == inside {
			b = append(b[:inside-1], "/>"...)
			continue
		}
		b = append(append(append(b, "</D:"...), p.name...), '>')
	}
	b = append(b, "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"...)
	if m.q.named && len(missing)+len(m.q.unknown) > 0 {
		b = append(b, "<D:propstat><D:prop>"...)
		for _, p := range missing {
			b = append(append(append(b, "<D:"...), p.name...), "/>"...)
		}
		for _, name := range m.q.unknown {
			if name.Space == "" { // a prefix cannot stand for it
				b = append(append(append(b, '<'), name.Local...), ` xmlns=""/>`...)
				continue
			}
			b = append(append(b, "<x:"...), name.Local...)
			b = append(appendText(append(b, ` xmlns:x="`...), name.Space), `"/>`...)
		}
		b = append(b, "</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"...)
	}
	m.buf = append(b, "</D:response>"...)
	if len(m.buf) < piece {
		return nil
	}
	return m.flush()
}

func (m *multistatus) flush() error {
	if m.sent == 0 {
		startXML(m.w, http.StatusMultiStatus)
	}
	m.w.extend()
	n, err := m.w.Write(m.buf)
	m.sent += n
	m.buf = m.buf[:0]
	return err
}

func (m *multistatus) end() {
	m.buf = append(m.buf, "\n</D:multistatus>\n"...)
	m.flush()
}

func startXML(w *response, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/xml; charset=utf-8")
	h["Cache-Control"] = noStore
	w.WriteHeader(status)
}

func writeXML(w *response, status int, text string) {
	startXML(w, status)
	io.WriteString(w, xml.Header+text+"\n")
}

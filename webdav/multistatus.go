package webdav

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

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

	mu      sync.Mutex
	writing bool
	hurried time.Time // when another client waited for our place last
}

const piece = 32 << 10

// A client takes a piece within a fourth of a stall, which is a modem's pace, and
// sooner while others wait for its place.
const (
	listingPace   = 4
	listingHurry  = 30
	hurriedFor    = 3 * time.Second
	listingWaited = 3 * time.Second // before anyone is hurried
)

// add writes one entry.
func (m *multistatus) add(e *entry) error {
	b := m.buf
	if m.sent == 0 && len(b) == 0 {
		b = m.begin(make([]byte, 0, piece+4<<10))
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
	if m.q.named && len(missing)+len(m.q.unknown.all) > 0 {
		b = append(b, "<D:propstat><D:prop>"...)
		for _, p := range missing {
			b = append(append(append(b, "<D:"...), p.name...), "/>"...)
		}
		for _, name := range m.q.unknown.all {
			b = m.q.unknown.say(b, name)
		}
		b = append(b, "</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"...)
	}
	m.buf = append(b, "</D:response>"...)
	if len(m.buf) < piece {
		return nil
	}
	return m.flush()
}

// begin opens the answer, and declares the namespaces of all that was asked for.
func (m *multistatus) begin(b []byte) []byte {
	b = append(b, xml.Header+`<D:multistatus xmlns:D="DAV:"`...)
	b = m.q.unknown.declare(b)
	return append(b, '>')
}

func (m *multistatus) flush() error {
	if m.sent == 0 {
		startXML(m.w, http.StatusMultiStatus)
	}
	m.setWriting(true)
	n, err := m.w.Write(m.buf)
	m.setWriting(false)
	m.w.extend() // for us to go on listing
	m.sent += n
	m.buf = m.buf[:0]
	return err
}

func (m *multistatus) setWriting(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writing = yes; yes {
		m.setDeadline()
	}
}

// hurry is told that another client waits for the place of this one.
func (m *multistatus) hurry(waited time.Duration) {
	if waited < listingWaited {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	already := time.Since(m.hurried) <= hurriedFor
	if m.hurried = time.Now(); m.writing && !already {
		m.setDeadline()
	}
}

func (m *multistatus) setDeadline() {
	pace := m.w.stall / listingPace
	if time.Since(m.hurried) <= hurriedFor {
		pace = m.w.stall / listingHurry
	}
	m.w.until(time.Now().Add(pace))
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

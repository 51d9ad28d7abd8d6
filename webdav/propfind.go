package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxListing is how many folders are listed at the same time at one URL. A
	// directory keeps the names of the folder in memory meanwhile.
	maxListing = 8
	// maxProps bounds the properties of a PROPFIND: each is answered for each file.
	maxProps = 64
)

// dav is the namespace of the properties that are known here.
const dav = "DAV:"

// A property is one that is computed. Value appends its content to b, and
// reports whether the entry has it.
type property struct {
	name   string
	folder bool // folders have it too
	value  func(b []byte, v *view, e *entry) ([]byte, bool)
}

// properties are those of RFC 4918, 15.
var properties = []property{
	{"resourcetype", true, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		if e.folder {
			b = append(b, "<D:collection/>"...)
		}
		return b, true
	}},
	{"displayname", true, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		if e.name == "" {
			return b, true
		}
		return appendText(b, path.Base(e.name)), true
	}},
	{"getcontentlength", false, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		return strconv.AppendInt(b, e.Size, 10), e.Size >= 0
	}},
	{"getcontenttype", false, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		if e.kept {
			return append(b, "application/octet-stream"...), true
		}
		return append(b, e.Key.ContentType()...), true
	}},
	{"getetag", false, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		return appendText(b, `"`+e.ETag+`"`), e.ETag != ""
	}},
	{"getlastmodified", false, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		return e.ModTime.UTC().AppendFormat(b, http.TimeFormat), !e.ModTime.IsZero()
	}},
	{"creationdate", false, func(b []byte, _ *view, e *entry) ([]byte, bool) {
		return e.ModTime.UTC().AppendFormat(b, time.RFC3339), !e.ModTime.IsZero()
	}},
	{"supportedlock", true, func(b []byte, v *view, _ *entry) ([]byte, bool) {
		return append(b, "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"...), v.locks != nil
	}},
	{"lockdiscovery", true, func(b []byte, v *view, e *entry) ([]byte, bool) {
		return appendLock(b, v, e), v.locks != nil
	}},
}

// A query is what a PROPFIND asks for.
type query struct {
	namesOnly bool // propname: the names of what there is, without values
	named     bool // prop: what is missing is to be told
	known     []*property
	unknown   []xml.Name
}

// propfind answers with the properties of a file, of a folder, or of a folder
// and what is in it. It writes as it lists, so that memory does not depend on
// how much that is.
func (v *view) propfind(w *response, r *http.Request, t *target, in *body) *failure {
	ctx := r.Context()
	q, err := readPropfind(in)
	if err != nil {
		return &failure{status: http.StatusBadRequest, text: "the body of the PROPFIND cannot be read: " + err.Error()}
	}
	self, err := v.stat(ctx, t.name)
	switch {
	case isAbsent(err):
		return absent()
	case err != nil:
		return unreadable(err)
	case t.slash && !self.folder:
		return absent()
	}
	depth := r.Header.Get("Depth")
	switch depth {
	case "0", "1":
	case "", "infinity":
		if !self.folder {
			depth = "0"
			break
		}
		writeXML(w, http.StatusForbidden, `<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>`)
		return nil
	default:
		return &failure{status: http.StatusBadRequest, text: "Depth is 0 or 1"}
	}
	if depth == "1" && self.folder {
		select {
		case v.listing <- struct{}{}:
			defer func() { <-v.listing }()
		default:
			return &failure{status: http.StatusServiceUnavailable, text: "too many folders are being listed, try again", retryAfter: time.Second}
		}
	}

	m := &multistatus{w: w, v: v, q: q}
	m.add(&self)
	if depth == "1" && self.folder {
		for e, err := range v.children(ctx, t.name) {
			if err == nil {
				err = m.add(&e)
			}
			if err != nil && m.sent == 0 {
				return unreadable(err)
			}
			if err != nil {
				panic(http.ErrAbortHandler) // a part of a listing must not pass for the whole (I5)
			}
		}
	}
	m.end()
	return nil
}

// A multistatus is the answer to a PROPFIND, sent piece by piece.
type multistatus struct {
	w    *response
	v    *view
	q    *query
	buf  []byte
	sent int
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
		if b, ok = p.value(b, m.v, e); !ok {
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

// readPropfind reads the body of a PROPFIND: allprop, propname or prop. None is
// allprop.
func readPropfind(from io.Reader) (*query, error) {
	all := &query{}
	for i := range properties {
		all.known = append(all.known, &properties[i])
	}
	text, err := io.ReadAll(io.LimitReader(from, maxXML+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxXML:
		return nil, fmt.Errorf("more than %d bytes", maxXML)
	case len(bytes.TrimSpace(text)) == 0:
		return all, nil
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	q, depth, asked := &query{named: true}, 0, ""
	for {
		token, err := d.Token()
		if err == io.EOF && depth == 0 && asked != "" {
			break
		}
		if err != nil {
			return nil, errors.New("not well-formed XML")
		}
		switch token := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			switch {
			case depth == 1 && token.Name != xml.Name{Space: dav, Local: "propfind"}:
				return nil, errors.New("not a propfind")
			case depth == 2 && token.Name.Space == dav && asked == "":
				switch token.Name.Local {
				case "prop", "allprop", "propname":
					asked = token.Name.Local
				}
			case depth == 3 && asked == "prop":
				if err := q.ask(token.Name); err != nil {
					return nil, err
				}
			case depth > 16:
				return nil, errors.New("nested too deep")
			}
		}
	}
	switch asked {
	case "allprop":
		return all, nil
	case "propname":
		all.namesOnly = true
		return all, nil
	}
	return q, nil
}

// ask adds a property to a query.
func (q *query) ask(name xml.Name) error {
	if len(q.known)+len(q.unknown) >= maxProps {
		return fmt.Errorf("more than %d properties", maxProps)
	}
	i := slices.IndexFunc(properties, func(p property) bool { return name.Space == dav && p.name == name.Local })
	switch {
	case i < 0:
		q.unknown = append(q.unknown, name)
	case !slices.Contains(q.known, &properties[i]):
		q.known = append(q.known, &properties[i])
	}
	return nil
}

// appendLock describes the lock on an entry (RFC 4918, 15.8).
func appendLock(b []byte, v *view, e *entry) []byte {
	l, ok := v.locks.active(v.root + e.name)
	if !ok {
		return b
	}
	depth := "infinity"
	if l.ZeroDepth {
		depth = "0"
	}
	owner := l.OwnerXML
	if strings.ContainsAny(owner, "<&") {
		owner = "" // XML that may lean on prefixes of the request that it came in
	}
	b = fmt.Appendf(b, "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope>"+
		"<D:depth>%s</D:depth><D:owner>%s</D:owner><D:timeout>Second-%d</D:timeout>"+
		"<D:locktoken><D:href>%s</D:href></D:locktoken><D:lockroot><D:href>",
		depth, owner, int(l.Duration.Seconds()), l.token)
	b = appendText(b, (&url.URL{Path: l.Root}).EscapedPath())
	return append(b, "</D:href></D:lockroot></D:activelock>"...)
}

// appendText appends text with the characters escaped that XML knows otherwise.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '+' && c <= ':', c >= 'A' && c <= 'Z', c == '_', c == '%', c == ' ':
		default:
			var escaped bytes.Buffer
			xml.EscapeText(&escaped, []byte(s))
			return append(b, escaped.Bytes()...)
		}
	}
	return append(b, s...)
}

package webdav

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// dav is the namespace of the properties that are known here.
const dav = "DAV:"

// A property is one that is computed. Value appends its content to b, and
// reports whether the entry has it.
type property struct {
	name   string
	folder bool // folders have it too
	value  func(b []byte, m *multistatus, e *entry) ([]byte, bool)
}

// properties are those of RFC 4918, 15.
var properties = []property{
	{"resourcetype", true, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		if e.folder {
			b = append(b, "<D:collection/>"...)
		}
		return b, true
	}},
	{"displayname", true, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		if e.name == "" {
			return b, true
		}
		return appendText(b, path.Base(e.name)), true
	}},
	{"getcontentlength", false, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		return strconv.AppendInt(b, e.Size, 10), e.Size >= 0
	}},
	{"getcontenttype", false, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		if e.kept {
			return append(b, "application/octet-stream"...), true
		}
		return append(b, e.Key.ContentType()...), true
	}},
	{"getetag", false, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		return appendText(b, `"`+e.ETag+`"`), e.ETag != ""
	}},
	{"getlastmodified", false, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		return e.ModTime.UTC().AppendFormat(b, http.TimeFormat), !e.ModTime.IsZero()
	}},
	{"creationdate", false, func(b []byte, _ *multistatus, e *entry) ([]byte, bool) {
		return e.ModTime.UTC().AppendFormat(b, time.RFC3339), !e.ModTime.IsZero()
	}},
	{"supportedlock", true, func(b []byte, m *multistatus, _ *entry) ([]byte, bool) {
		return append(b, "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"...), m.v.locks != nil
	}},
	{"lockdiscovery", true, func(b []byte, m *multistatus, e *entry) ([]byte, bool) {
		return appendLock(b, m, e), m.v.locks != nil
	}},
}

// appendLock describes the lock on an entry (RFC 4918, 15.8).
func appendLock(b []byte, m *multistatus, e *entry) []byte {
	l, ok := m.v.locks.active(m.client, m.v.root+e.name)
	if !ok {
		return b
	}
	owner := l.OwnerXML
	if strings.ContainsAny(owner, "<&") {
		owner = "" // XML that may lean on prefixes of the request that it came in
	}
	b = fmt.Appendf(b, "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope>"+
		"<D:depth>0</D:depth><D:owner>%s</D:owner><D:timeout>Second-%d</D:timeout>"+
		"<D:locktoken><D:href>%s</D:href></D:locktoken><D:lockroot><D:href>",
		owner, int(l.Duration.Seconds()), l.token)
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

package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/nixstatic/nixstatic/layout/share"
)

// microsoft is the namespace of the times and attributes that Windows sets on
// each file that it copies. It takes a refusal for a failed copy. Agreed to and
// forgotten: the file of a cache has no such properties.
const microsoft = "urn:schemas-microsoft-com:"

// proppatch agrees to the requests of Windows, and to no others. The library would do
// the same, but it holds the value of each property with the namespaces said anew for
// each element in it: 60 KiB become a gigabyte.
func (h *Handler) proppatch(w *response, r *http.Request, t *target, in *body) *failure {
	text, release, f := h.readXML(r, in)
	if f != nil {
		return f
	}
	defer release()
	if f := h.preconditions(r, t, clientOf(r)); f != nil {
		return f
	}
	e, err := h.uploading.stat(r.Context(), t.name)
	switch {
	case isAbsent(err):
		return absent()
	case errors.Is(err, share.ErrBusy):
		return busyListing()
	case err != nil:
		return failureOf(err)
	}
	asked, err := readProppatch(text)
	if err != nil {
		return &failure{status: http.StatusBadRequest, text: "the body of the PROPPATCH cannot be read: " + err.Error()}
	}
	href := h.uploading.root + e.name
	if e.folder && e.name != "" {
		href += "/"
	}
	b := asked.declare([]byte(`<D:multistatus xmlns:D="DAV:"`))
	b = append(b, "><D:response><D:href>"...)
	b = append(appendText(b, (&url.URL{Path: href}).EscapedPath()), "</D:href>"...)
	// All or nothing (RFC 4918, 9.2): what could be agreed to fails with the rest.
	var agreed, refused []xml.Name
	for _, name := range asked.all {
		if name.Space == microsoft {
			agreed = append(agreed, name)
		} else {
			refused = append(refused, name)
		}
	}
	fine := "200 OK"
	if len(refused) > 0 {
		fine = "424 Failed Dependency"
	}
	b = asked.appendStat(b, refused, "403 Forbidden")
	b = asked.appendStat(b, agreed, fine)
	writeXML(w, http.StatusMultiStatus, string(append(b, "</D:response></D:multistatus>"...)))
	return nil
}

// appendStat tells what became of some properties.
func (n *names) appendStat(b []byte, some []xml.Name, status string) []byte {
	if len(some) == 0 {
		return b
	}
	b = append(b, "<D:propstat><D:prop>"...)
	for _, name := range some {
		b = n.say(b, name)
	}
	return fmt.Appendf(b, "</D:prop><D:status>HTTP/1.1 %s</D:status></D:propstat>", status)
}

// readProppatch reads the names of the properties that a PROPPATCH sets or removes.
func readProppatch(text []byte) (*names, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	asked, depth := &names{}, 0
	for {
		token, err := d.Token()
		if err == io.EOF && depth == 0 && len(asked.all) > 0 {
			return asked, nil
		}
		if err != nil {
			return nil, errors.New("not well-formed XML")
		}
		switch token := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			local := token.Name.Local
			known := token.Name.Space == dav
			switch {
			case depth == 1 && !(known && local == "propertyupdate"),
				depth == 2 && !(known && (local == "set" || local == "remove")),
				depth == 3 && !(known && local == "prop"):
				return nil, errors.New("not a propertyupdate")
			case depth == 4 && len(asked.all) == maxProps:
				return nil, fmt.Errorf("more than %d properties", maxProps)
			case depth == 4:
				if err := asked.add(token.Name); err != nil {
					return nil, err
				}
			case depth > maxDepth:
				return nil, errors.New("nested too deep")
			}
		}
	}
}

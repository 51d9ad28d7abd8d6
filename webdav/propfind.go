package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// maxListing is how many folders are listed at the same time at one URL. A
	// directory keeps the names of the folder in memory meanwhile.
	maxListing = 8
	// maxProps bounds the properties of a PROPFIND, and maxNames the bytes of what is
	// said of those that are not known here: both are answered for each file.
	maxProps = 64
	maxNames = 1 << 10
	// maxSpaces bounds the bytes of their namespaces, which are said once.
	maxSpaces = 4 << 10
)

// A query is what a PROPFIND asks for.
type query struct {
	namesOnly bool // propname: the names of what there is, without values
	named     bool // prop: what is missing is to be told
	known     []*property
	unknown   []xml.Name
	spaces    []string // of the unknown ones; their numbers are their prefixes
	size      int      // bytes of unknown
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
	case errors.Is(err, share.ErrBusy):
		return busyListing()
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
	m := &multistatus{w: w, v: v, client: share.From(ctx), q: q}
	if depth == "1" && self.folder {
		place, err := v.listing.Take(share.Hurried(ctx, m.hurry), 1)
		switch {
		case errors.Is(err, share.ErrBusy):
			return busyListing()
		case err != nil:
			return failureOf(err)
		}
		defer place.Release()
	}

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

func busyListing() *failure {
	return &failure{status: http.StatusServiceUnavailable, text: "too many folders are being listed, try again", retryAfter: 5 * time.Second}
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
	case i < 0 && !echoable(name.Local):
		return errors.New("not well-formed XML")
	case i < 0:
		q.unknown = append(q.unknown, name)
		if q.size += len(name.Local) + len(`<x00:/>`); q.size > maxNames {
			return fmt.Errorf("unknown properties with names of more than %d bytes", maxNames)
		}
		if !slices.Contains(q.spaces, name.Space) {
			q.spaces = append(q.spaces, name.Space)
		}
		if len(strings.Join(q.spaces, "")) > maxSpaces {
			return fmt.Errorf("namespaces of more than %d bytes", maxSpaces)
		}
	case !slices.Contains(q.known, &properties[i]):
		q.known = append(q.known, &properties[i])
	}
	return nil
}

// echoable reports whether a name stands in XML behind a prefix of ours. The
// decoder lets pass what only the prefix that it came with made one, or not
// even that, such as ":" and "a:1".
func echoable(local string) bool {
	first, _ := utf8.DecodeRuneInString(local)
	return (first == '_' || unicode.IsLetter(first)) && !strings.Contains(local, ":")
}

// checkProppatch refuses a PROPPATCH whose answer would be much larger than its
// body: that says the namespace of each property again.
func checkProppatch(text []byte) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	names, depth := 0, 0
	for {
		token, err := d.Token()
		if err == io.EOF && depth == 0 {
			return nil
		}
		if err != nil {
			return errors.New("not well-formed XML")
		}
		switch token := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if depth++; depth == 4 { // propertyupdate, set or remove, prop
				names += 2*len(token.Name.Local) + len(token.Name.Space)
			}
			if names > maxSpaces {
				return fmt.Errorf("properties with names of more than %d bytes", maxSpaces)
			}
		}
	}
}

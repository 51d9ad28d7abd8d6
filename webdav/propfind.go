package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout/share"
)

const (
	// maxListing is how many folders are listed at the same time at one URL. A
	// directory keeps the names of the folder in memory meanwhile.
	maxListing = 8
	// maxDepth is how deep the body of a request nests.
	maxDepth = 16
)

// A query is what a PROPFIND asks for.
type query struct {
	namesOnly bool // propname: the names of what there is, without values
	named     bool // prop: what is missing is to be told
	known     []*property
	unknown   names // each is answered for each file
}

// propfind answers with the properties of a file, of a folder, or of a folder
// and what is in it. It writes as it lists, so that memory does not depend on
// how much that is.
func (v *view) propfind(w *response, r *http.Request, t *target, q *query) *failure {
	ctx := r.Context()
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
func readPropfind(text []byte) (*query, error) {
	all := &query{}
	for i := range properties {
		all.known = append(all.known, &properties[i])
	}
	if len(bytes.TrimSpace(text)) == 0 {
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
			case depth > maxDepth:
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
	if len(q.known)+len(q.unknown.all) >= maxProps {
		return fmt.Errorf("more than %d properties", maxProps)
	}
	i := slices.IndexFunc(properties, func(p property) bool { return name.Space == dav && p.name == name.Local })
	switch {
	case i < 0:
		return q.unknown.add(name)
	case !slices.Contains(q.known, &properties[i]):
		q.known = append(q.known, &properties[i])
	}
	return nil
}

package httpcache

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	// propfind asks for what a listing tells.
	propfind = `<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>` +
		`<resourcetype/><getcontentlength/><getetag/><getlastmodified/></prop></propfind>`
	// maxEntries bounds the files of one folder.
	maxEntries = 5_000_000
	// maxResponse bounds in bytes what is said of one file.
	maxResponse = 64 << 10
)

// errNoMultistatus says that an answer is not one to PROPFIND.
var errNoMultistatus = errors.New("the answer is no DAV:multistatus")

// A davResponse tells of one file or folder (RFC 4918, 14.24).
type davResponse struct {
	Href     string `xml:"DAV: href"`
	Status   string `xml:"DAV: status"`
	Propstat []struct {
		Status string `xml:"DAV: status"`
		Prop   struct {
			Type struct {
				Collection *struct{} `xml:"DAV: collection"`
			} `xml:"DAV: resourcetype"`
			Length   string `xml:"DAV: getcontentlength"`
			ETag     string `xml:"DAV: getetag"`
			Modified string `xml:"DAV: getlastmodified"`
		} `xml:"DAV: prop"`
	} `xml:"DAV: propstat"`
}

// parseMultistatus reads the answer to a PROPFIND of the folder at a path of a
// web server, and yields what is directly in that folder, which is called
// folder in the tree. Files that cannot have a key are passed over.
//
// Behind a proxy that strips a prefix, or adds one, a server has another name for
// the folder, which begins its answer.
func parseMultistatus(r io.Reader, path, folder string) iter.Seq2[layout.TopEntry, error] {
	return func(yield func(layout.TopEntry, error) bool) {
		in := &portions{r: r, left: maxResponse}
		d := xml.NewDecoder(in)
		fail := func(err error) {
			if in.err != nil {
				err = netx.BrokenOff(in.err)
			}
			yield(layout.TopEntry{}, err)
		}
		root, err := firstElement(d)
		if err != nil || root.Name != (xml.Name{Space: "DAV:", Local: "multistatus"}) {
			fail(errNoMultistatus)
			return
		}
		for first := true; ; {
			token, err := d.Token()
			if err != nil {
				fail(fmt.Errorf("read the DAV:multistatus: %w", err))
				return
			}
			if _, end := token.(xml.EndElement); end {
				return // all others are skipped with what begins them
			}
			start, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			in.left = maxResponse
			if start.Name != (xml.Name{Space: "DAV:", Local: "response"}) {
				if err := d.Skip(); err != nil {
					fail(err)
					return
				}
				continue
			}
			var one davResponse
			err = d.DecodeElement(&one, &start)
			if err != nil {
				fail(fmt.Errorf("read the DAV:multistatus: %w", err))
				return
			}
			if first {
				path, first = one.folderPath(path), false
			}
			entry, use, err := one.entry(path, folder)
			if err != nil {
				fail(err)
				return
			}
			if use && !yield(entry, nil) {
				return
			}
		}
	}
}

func firstElement(d *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.Token()
		if start, ok := token.(xml.StartElement); ok || err != nil {
			return start, err
		}
	}
}

// folderPath returns what a server calls the folder that was asked for at a path,
// if this is the first response of its answer: the path itself, or one that
// differs by what is in front.
func (r *davResponse) folderPath(path string) string {
	u, err := url.Parse(strings.TrimSpace(r.Href))
	if err != nil || strings.HasPrefix(u.Path+"/", path) {
		return path
	}
	own := strings.TrimSuffix(u.Path, "/") + "/"
	if own[0] == '/' && (strings.HasSuffix(path, own) || strings.HasSuffix(own, path)) {
		return own
	}
	return path
}

// entry understands a response.
func (r *davResponse) entry(path, folder string) (e layout.TopEntry, use bool, err error) {
	u, err := url.Parse(strings.TrimSpace(r.Href))
	if err != nil {
		return e, false, fmt.Errorf("the server lists %.300q, which is no URL", r.Href)
	}
	name, ok := strings.CutPrefix(u.Path, path)
	switch {
	case ok:
	case u.Path+"/" == path:
		name = ""
	default:
		return e, false, fmt.Errorf("the server lists %.300q, which is not in %s", u.Path, path)
	}
	if r.Status != "" && statusCode(r.Status) != http.StatusOK {
		return e, false, fmt.Errorf("the server cannot tell of %.300q: %.100q", u.Path, r.Status)
	}
	name, slash := strings.CutSuffix(name, "/")
	if name == "" {
		return e, false, nil // the folder itself
	}
	if strings.Contains(name, "/") {
		return e, false, fmt.Errorf("the server lists %.300q, which is not directly in %s", u.Path, path)
	}
	key, err := layout.ParseKey(folder + name)
	if err != nil {
		return e, false, nil
	}
	e.Key, e.Size = key, -1
	for _, p := range r.Propstat {
		if statusCode(p.Status) != http.StatusOK {
			continue
		}
		slash = slash || p.Prop.Type.Collection != nil
		if n, err := strconv.ParseInt(strings.TrimSpace(p.Prop.Length), 10, 64); err == nil && n >= 0 {
			e.Size = n
		}
		if t, err := http.ParseTime(strings.TrimSpace(p.Prop.Modified)); err == nil {
			e.ModTime = t
		}
		e.ETag = strings.Trim(netx.StrongETag(http.Header{"Etag": {strings.TrimSpace(p.Prop.ETag)}}), `"`)
	}
	if slash {
		return layout.TopEntry{Folder: string(key) + "/"}, true, nil
	}
	return e, true, nil
}

// statusCode reads "HTTP/1.1 200 OK".
func statusCode(line string) int {
	_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if err != nil {
		return 0
	}
	return n
}

// portions is a reader that gives so many bytes until it is told to go on, and
// remembers what kept it from giving more.
type portions struct {
	r    io.Reader
	left int
	err  error // of r, other than its end
}

func (p *portions) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes about one file", maxResponse)
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	p.left -= n
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A page is one answer to ListObjectsV2, as far as it concerns us.
type page struct {
	objects []listed // in the order of names; folders are among them if they were asked for
	next    string   // token that asks for the following page; "" for the last
}

// A listed object is one with its name in the bucket. A folder has a name that
// ends in a slash, and nothing else.
type listed struct {
	name, etag string
	size       int64
	modified   time.Time
}

// pageValid is how long the signature of a request for a page is good for.
const pageValid = 10 * time.Minute

// fetchPage asks for one page. The client below can do so, but reads the answer
// with encoding/xml, which takes longer than the store needs to write it.
// Failures are not explained: the slow way explains them.
func (b *Bucket) fetchPage(ctx context.Context, prefix string, top bool, after, token string) (*page, error) {
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "prefix": {b.prefix + prefix}, "max-keys": {strconv.Itoa(pageSize)}}
	if top {
		query.Set("delimiter", "/")
	}
	if after != "" {
		query.Set("start-after", b.prefix+after)
	}
	if token != "" {
		query.Set("continuation-token", token)
	}
	u, err := b.client.Load().Presign(ctx, http.MethodGet, b.loc.Bucket, "", pageValid, query)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := b.guard.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body) // no more than the guard lets pass
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return parsePage(text)
}

// parsePage reads a ListBucketResult. Stores send simple XML: elements without
// prefixes, attributes only on the outermost, character references but no
// comments, CDATA or processing instructions behind the first. Any other XML is
// an error.
func parsePage(text []byte) (*page, error) {
	if bytes.HasPrefix(text, []byte("<?xml ")) {
		_, text, _ = bytes.Cut(text, []byte("?>"))
	}
	text = bytes.TrimSpace(text)
	head, rest, ok := bytes.Cut(text, []byte(">"))
	name, _, _ := bytes.Cut(head, []byte(" "))
	inner, closed := bytes.CutSuffix(rest, []byte("</ListBucketResult>"))
	if !ok || !closed || string(name) != "<ListBucketResult" {
		return nil, errPage
	}
	p := &page{objects: make([]listed, 0, pageSize)}
	truncated, encoded, folders := false, false, false
	err := eachElement(inner, func(name, content []byte) error {
		var err error
		switch string(name) {
		case "Contents":
			var o listed
			if o, err = parseListed(content); err == nil {
				p.objects = append(p.objects, o)
			}
		case "CommonPrefixes":
			var folder listed
			if folder.name, err = parseFolder(content); err == nil {
				p.objects = append(p.objects, folder)
				folders = true
			}
		case "NextContinuationToken":
			p.next, err = characters(content)
		case "IsTruncated":
			truncated = string(content) == "true"
		case "EncodingType":
			encoded = string(content) == "url"
		}
		return err
	})
	if err != nil || truncated != (p.next != "") {
		return nil, errPage
	}
	for i := range p.objects {
		if !encoded {
			break // by a store that does not know how
		}
		o := &p.objects[i]
		if o.name, err = url.QueryUnescape(o.name); err != nil {
			return nil, errPage
		}
	}
	if folders { // they come behind the objects, or before them
		slices.SortFunc(p.objects, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	}
	return p, nil
}

var errPage = errors.New("not the listing of a bucket as it is usual")

func parseListed(content []byte) (o listed, err error) {
	seen := 0
	err = eachElement(content, func(name, content []byte) error {
		var err error
		switch string(name) {
		case "Key":
			seen++
			o.name, err = characters(content)
		case "ETag":
			o.etag, err = characters(content)
			o.etag = strings.Trim(o.etag, `"`)
		case "Size":
			seen++
			o.size, err = strconv.ParseInt(string(content), 10, 64)
		case "LastModified":
			o.modified, err = time.Parse(time.RFC3339Nano, string(content))
		}
		return err
	})
	if err == nil && (seen != 2 || o.name == "" || o.size < 0) {
		err = errPage
	}
	return o, err
}

func parseFolder(content []byte) (name string, err error) {
	err = eachElement(content, func(element, content []byte) (err error) {
		if string(element) == "Prefix" && name == "" {
			name, err = characters(content)
			return err
		}
		return errPage
	})
	if err == nil && !strings.HasSuffix(name, "/") {
		err = errPage
	}
	return name, err
}

// eachElement calls use with the elements of which text consists.
func eachElement(text []byte, use func(name, content []byte) error) error {
	for {
		text = bytes.TrimLeft(text, " \t\r\n")
		if len(text) == 0 {
			return nil
		}
		end := bytes.IndexByte(text, '>')
		if text[0] != '<' || end < 2 {
			return errPage
		}
		name := text[1:end]
		text = text[end+1:]
		if empty, ok := bytes.CutSuffix(name, []byte("/")); ok {
			if !plainName(empty) {
				return errPage
			}
			continue
		}
		if !plainName(name) {
			return errPage
		}
		// No element of a listing holds another one of its own name.
		content, rest, ok := cutElement(text, name)
		if !ok {
			return errPage
		}
		text = rest
		if err := use(name, content); err != nil {
			return err
		}
	}
}

// cutElement cuts text at the end tag of an element.
func cutElement(text, name []byte) (content, rest []byte, ok bool) {
	for at := 0; ; at += 2 {
		i := bytes.Index(text[at:], []byte("</"))
		if i < 0 {
			return nil, nil, false
		}
		at += i
		if tail, found := bytes.CutPrefix(text[at+2:], name); found && len(tail) > 0 && tail[0] == '>' {
			return text[:at], tail[1:], true
		}
	}
}

func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0
}

// references are those that writers of XML use in listings.
var references = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "#34": '"', "#39": '\'', "#x22": '"', "#x27": '\''}

// characters returns the text of an element that holds no other.
func characters(content []byte) (string, error) {
	if bytes.IndexByte(content, '<') >= 0 {
		return "", errPage
	}
	if bytes.IndexByte(content, '&') < 0 {
		return string(content), nil
	}
	var text []byte
	for {
		plain, rest, found := bytes.Cut(content, []byte("&"))
		text = append(text, plain...)
		if !found {
			return string(text), nil
		}
		name, rest, _ := bytes.Cut(rest, []byte(";"))
		c, known := references[string(name)]
		if !known {
			return "", errPage
		}
		text, content = append(text, c), rest
	}
}

package httpcache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// Answers of our own server, of Apache, and of one that spells things otherwise.
var multistatuses = []string{
	`<?xml version="1.0" encoding="UTF-8"?>
<D:multistatus xmlns:D="DAV:">
<D:response><D:href>/c/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop><D:getcontentlength/><D:getetag/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
<D:response><D:href>/c/nar/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/c/a%2Bb%3Fc</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>12</D:getcontentlength><D:getetag>&#34;ab&#34;</D:getetag><D:getlastmodified>Mon, 23 Nov 2026 10:00:00 GMT</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>
`,
	`<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/c/log</D:href>
<D:propstat>
<D:prop>
<lp1:resourcetype><D:collection/></lp1:resourcetype>
<lp1:getetag>"1000-5e1"</lp1:getetag>
</D:prop>
<D:status>HTTP/1.1 200 OK</D:status>
</D:propstat>
</D:response>
<D:response><D:href>http://inside:8080/c/nix-cache-info</D:href>
<D:propstat><D:prop><lp1:getcontentlength xmlns:lp1="DAV:">7</lp1:getcontentlength><lp1:getetag xmlns:lp1="DAV:">W/"7"</lp1:getetag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
</D:response></D:multistatus>`,
	`<multistatus xmlns="DAV:"><responsedescription>hello <b/></responsedescription><response><href> /c/x </href><propstat><prop><getcontentlength>-1</getcontentlength><getetag>bare</getetag></prop><status>HTTP/1.1 200 OK</status></propstat></response></multistatus>`,
}

func parsed(text, path, folder string) (entries []layout.TopEntry, err error) {
	for e, err := range parseMultistatus(strings.NewReader(text), path, folder) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func TestParseMultistatus(t *testing.T) {
	file := func(key layout.Key, size int64, etag string) layout.TopEntry {
		return layout.TopEntry{Info: layout.Info{Key: key, Size: size, ETag: etag}}
	}
	dated := file("log/a+b?c", 12, "ab")
	dated.ModTime = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for i, want := range [][]layout.TopEntry{
		{{Folder: "log/nar/"}, dated},
		{{Folder: "log/log/"}, file("log/nix-cache-info", 7, "")},
		{file("log/x", -1, "")},
	} {
		got, err := parsed(multistatuses[i], "/c/", "log/")
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
}

// TestParseMultistatusBehindProxy: a server that does not see the prefix of the
// path, or sees one more, calls the folder otherwise; what it lists is relative
// to that.
func TestParseMultistatusBehindProxy(t *testing.T) {
	answer := func(hrefs ...string) string {
		var b strings.Builder
		for _, href := range hrefs {
			fmt.Fprintf(&b, "<response><href>%s</href></response>", href)
		}
		return `<multistatus xmlns="DAV:">` + b.String() + `</multistatus>`
	}
	for _, c := range []struct {
		path  string
		hrefs []string
		want  string // the keys; "" for an error
	}{
		{"/sub/", []string{"/", "/x", "/y"}, "[nar/x nar/y]"},
		{"/sub/", []string{"/sub/", "/sub/x"}, "[nar/x]"},
		{"/a/b/nar/", []string{"/b/nar/", "/b/nar/x"}, "[nar/x]"},
		{"/a/b/nar/", []string{"/nar", "/nar/x"}, "[nar/x]"},
		{"/a/b/nar/", []string{"http://inside/nar/", "http://inside/nar/x"}, "[nar/x]"},
		{"/nar/", []string{"/inside/nar/", "/inside/nar/x"}, "[nar/x]"},
		{"/", []string{"/inside/", "/inside/x"}, ""}, // no server lists the folder itself last
		{"/sub/nar/", []string{"/sub/nar/", "/nar/x"}, ""},
		{"/sub/nar/", []string{"/nar/", "/sub/nar/x"}, ""},
		{"/sub/nar/", []string{"/nar/", "/x"}, ""},
		{"/sub/nar/", []string{"/nar/", "/nar/x/y"}, ""},
		{"/sub/nar/", []string{"/log/", "/log/x"}, ""},
		{"/sub/nar/", []string{"/r/", "/r/x"}, ""},
	} {
		entries, err := parsed(answer(c.hrefs...), c.path, "nar/")
		var keys []layout.Key
		for _, e := range entries {
			keys = append(keys, e.Key)
		}
		if got := fmt.Sprint(keys); (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%s of %q: %s, %v; want %s", c.path, c.hrefs, got, err, c.want)
		}
	}
}

func TestParseMultistatusErrors(t *testing.T) {
	one := func(inner string) string {
		return `<multistatus xmlns="DAV:"><response>` + inner + `</response></multistatus>`
	}
	for text, want := range map[string]string{
		"":                            "no DAV:multistatus",
		"<html><body>":                "no DAV:multistatus",
		"<multistatus/>":              "no DAV:multistatus",
		`<multistatus xmlns="DAV:">`:  "unexpected EOF",
		one("<href>/c/a</href>")[:50]: "unexpected EOF",
		one("<href>/d/a</href>"):      "not in /c/",
		one("<href>/c/../d/a</href>"): "not directly in",
		one("<href>/c/a/b</href>"):    "not directly in",
		one("<href>/c/a%2Fb</href>"):  "not directly in",
		one("<href>%</href>"):         "no URL",
		one("<href>&evil;</href>"):    "invalid character entity",
		one("<href>/c/a</href><status>HTTP/1.1 403 Forbidden</status>"):   "cannot tell",
		one("<href>/c/" + strings.Repeat("a", 2*maxResponse) + "</href>"): "about one file",
		strings.Repeat("<a>", 1e6):                                        "no DAV:multistatus",
	} {
		entries, err := parsed(text, "/c/", "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, %v, want an error that says %q", text, entries, err, want)
		}
	}
	// An entry that no client can ask for does not belong to the tree.
	for _, href := range []string{"/c/.", "/c/..", "/c/", "/c", "/c/%00", "/c/a%5Cb", "/c/%FF"} {
		if entries, err := parsed(one("<href>"+href+"</href>"), "/c/", ""); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v, %v", href, entries, err)
		}
	}
}

// FuzzMultistatus: whatever a server sends, what comes out is directly in the
// folder that was asked for.
func FuzzMultistatus(f *testing.F) {
	for _, text := range multistatuses {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for e, err := range parseMultistatus(strings.NewReader(text), "/c/", "log/") {
			if err != nil {
				return
			}
			name := strings.TrimSuffix(fmt.Sprint(e.Key, e.Folder), "/")
			key, err := layout.ParseKey(name)
			if rest, ok := strings.CutPrefix(string(key), "log/"); err != nil || !ok || strings.Contains(rest, "/") {
				t.Fatalf("%q", name)
			}
		}
	})
}

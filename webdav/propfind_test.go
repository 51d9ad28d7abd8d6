package webdav

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// A multi is what a client reads out of a multistatus.
type multi struct {
	Responses []struct {
		Href      string `xml:"DAV: href"`
		Propstats []struct {
			Status string `xml:"DAV: status"`
			Prop   struct {
				Props []struct {
					XMLName  xml.Name
					InnerXML string `xml:",innerxml"`
				} `xml:",any"`
			} `xml:"DAV: prop"`
		} `xml:"DAV: propstat"`
	} `xml:"DAV: response"`
}

func (r *rig) propfind(t *testing.T, path, depth, body string) multi {
	t.Helper()
	got := r.do(t, "PROPFIND", path, strings.NewReader(body), "Depth: "+depth)
	var s multi
	if err := xml.Unmarshal([]byte(got.Body), &s); err != nil || got.Status != 207 {
		t.Fatalf("PROPFIND %s: %d %v\n%s", path, got.Status, err, got.Body)
	}
	return s
}

func (s multi) hrefs() []string {
	var all []string
	for _, r := range s.Responses {
		all = append(all, r.Href)
	}
	return all
}

// props is "name=value" of those with this status.
func (s multi) props(i int, code string) []string {
	var all []string
	for _, p := range s.Responses[i].Propstats {
		if strings.Contains(p.Status, code) {
			for _, prop := range p.Prop.Props {
				all = append(all, prop.XMLName.Local+"="+prop.InnerXML)
			}
		}
	}
	return all
}

func TestPropfindListsTheTree(t *testing.T) {
	r, _ := populated(t)
	for name, text := range map[string]string{"README": "x", "index.html": "x", "log/" + strings.Repeat("0", 32) + "-a+b?c.drv": "x",
		"build-trace-v2/" + strings.Repeat("0", 32) + "-x.drv/out.doi": "{}", "other/file": "x"} {
		file := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]string{"": {"", "build-trace-v2/", "debuginfo/", "log/", "nar/", "pins/", "realisations/", "search/"}}
	for _, key := range keysOf(t, r.dir) {
		dir := path.Dir(string(key))
		if dir == "." {
			dir = ""
		}
		want[dir] = append(want[dir], strings.NewReplacer("?", "%3F").Replace(string(key)))
	}
	for _, dir := range []string{"nar", "log", "debuginfo", "build-trace-v2", "pins", "realisations"} {
		want[dir] = append(want[dir], dir+"/")
	}
	trace := "build-trace-v2/" + strings.Repeat("0", 32) + "-x.drv"
	want["build-trace-v2"] = append(want["build-trace-v2"], trace+"/")
	want[trace] = append(want[trace], trace+"/")
	for _, root := range []string{"/", "/upload/"} {
		for dir, names := range want {
			full := []string{}
			for _, name := range names {
				full = append(full, root+name)
			}
			slices.Sort(full)
			for _, spelling := range []string{dir, dir + "/"} {
				if spelling == "/" {
					spelling = ""
				}
				got := r.propfind(t, root+spelling, "1", "").hrefs()
				slices.Sort(got)
				if d := cmp.Diff(full, got); d != "" {
					t.Errorf("PROPFIND %s%s: %s", root, spelling, d)
				}
			}
		}
		for _, name := range []string{"README", "other/", "other/file", ".nixstatic", ".nixstatic/", "nar/x", "build-trace-v2/nobody.drv", "../", "%2e%2e/", "nix-cache-info/", "nar//", "nar/nar/"} {
			if got := r.do(t, "PROPFIND", root+name, nil, "Depth: 0"); got.Status != 404 {
				t.Errorf("PROPFIND %s%s: %d", root, name, got.Status)
			}
		}
	}
	if got := r.propfind(t, "/upload", "0", "").hrefs(); !slices.Equal(got, []string{"/upload/"}) {
		t.Errorf("the root without its slash: %q", got)
	}
	// Each file that is listed can be had under that very name.
	for _, href := range r.propfind(t, "/log/", "1", "").hrefs()[1:] {
		if got := r.do(t, "GET", href, nil); got.Status != 200 {
			t.Errorf("GET %s: %d", href, got.Status)
		}
	}
}

func TestPropfindProperties(t *testing.T) {
	r, paths := populated(t)
	name := string(layout.NarInfoKey(paths.Named("app").Info.Path))
	object := r.do(t, "GET", "/"+name, nil)
	etag := strings.ReplaceAll(object.Header.Get("ETag"), `"`, "&#34;")
	modified, err := http.ParseTime(object.Header.Get("Last-Modified"))
	if err != nil {
		t.Fatal(err)
	}
	everything := []string{"resourcetype=", "displayname=" + name, fmt.Sprint("getcontentlength=", len(object.Body)), "getcontenttype=text/x-nix-narinfo",
		"getetag=" + etag, "getlastmodified=" + object.Header.Get("Last-Modified"), "creationdate=" + modified.UTC().Format(time.RFC3339)}
	locking := []string{"supportedlock=<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>", "lockdiscovery="}
	tests := []struct {
		path, body  string
		ok, missing []string
	}{
		{"/" + name, "", everything, nil},
		{"/" + name, `<?xml version="1.0"?><!-- x --><propfind xmlns="DAV:"><allprop/><include><foo/></include></propfind>`, everything, nil},
		{"/upload/" + name, "  \n", append(slices.Clone(everything), locking...), nil},
		{"/upload/nar/", `<a:propfind xmlns:a="DAV:"><a:allprop/></a:propfind>`, append([]string{"resourcetype=<D:collection/>", "displayname=nar"}, locking...), nil},
		{"/", `<propfind xmlns="DAV:"><propname/></propfind>`, []string{"resourcetype=", "displayname="}, nil},
		{"/" + name, `<propfind xmlns="DAV:"><prop><getcontentlength/><getcontentlength/><x xmlns="u:&quot;&lt;"/><quota-used-bytes/></prop></propfind>`,
			everything[2:3], []string{"x=", "quota-used-bytes="}},
		{"/nar", `<propfind xmlns="DAV:"><prop><getcontentlength/><resourcetype/></prop></propfind>`, []string{"resourcetype=<D:collection/>"}, []string{"getcontentlength="}},
	}
	for _, test := range tests {
		got := r.propfind(t, test.path, "0", test.body)
		if d := cmp.Diff(test.ok, got.props(0, "200")); d != "" || len(got.Responses) != 1 {
			t.Errorf("PROPFIND %s %s: %s", test.path, test.body, d)
		}
		if d := cmp.Diff(test.missing, got.props(0, "404")); d != "" {
			t.Errorf("PROPFIND %s %s, missing: %s", test.path, test.body, d)
		}
	}
}

func TestPropfindRefuses(t *testing.T) {
	r, _ := populated(t)
	deep := `<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20) + "</prop></propfind>"
	many := `<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a/>", 1000) + "</prop></propfind>"
	for _, test := range []struct {
		path, depth, body string
		want              int
	}{
		{"/", "infinity", "", 403}, {"/upload/", "", "", 403}, {"/nix-cache-info", "infinity", "", 207}, {"/nix-cache-info", "", "", 207},
		{"/", "2", "", 400}, {"/", "1,noroot", "", 400}, {"/", "0", "<", 400}, {"/", "0", "<propfind/>", 400}, {"/", "0", `<propfind xmlns="DAV:"/>`, 400},
		{"/", "0", `<propfind xmlns="DAV:"><prop>`, 400}, {"/", "0", deep, 400}, {"/", "0", many, 400},
		{"/", "0", `<!DOCTYPE x [<!ENTITY a "aaaa">]><propfind xmlns="DAV:"><prop><a/>&a;</prop></propfind>`, 400},
		{"/", "0", strings.Repeat(" ", maxXML+1), 400}, {"/nothing", "0", "", 404},
	} {
		got := r.do(t, "PROPFIND", test.path, strings.NewReader(test.body), "Depth: "+test.depth)
		if got.Status != test.want {
			t.Errorf("PROPFIND %s, depth %q, %.40q: %d, want %d", test.path, test.depth, test.body, got.Status, test.want)
		}
		if test.want == 403 && !strings.Contains(got.Body, "propfind-finite-depth") {
			t.Errorf("no reason is given for the refusal: %s", got.Body)
		}
	}
}

// The answer to any PROPFIND is well-formed.
func FuzzPropfind(f *testing.F) {
	for _, body := range []string{
		// davfs2, rclone and Explorer.
		`<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype xmlns="DAV:"/><getcontentlength xmlns="DAV:"/>` +
			`<executable xmlns="http://apache.org/dav/props/"/><quota-available-bytes xmlns="DAV:"/></prop></propfind>`,
		`<?xml version="1.0"?><d:propfind  xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><d:displayname /><oc:checksums /></d:prop></d:propfind>`,
		`<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:creationdate/><D:ishidden/><Z:Win32FileAttributes xmlns:Z="urn:schemas-microsoft-com:"/></D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><:/></D:prop></D:propfind>`, `<propfind xmlns="DAV:"><prop><x xmlns=""/><a:1/></prop></propfind>`,
		"", "<", `<propfind xmlns="DAV:"><prop><getetag/><x xmlns="u:&amp;"/></prop></propfind>`, `<propfind xmlns="DAV:"><propname/></propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`, `<D:propfind xmlns:D="DAV:"><D:prop><D:a-b.c/><y:ü xmlns:y=""/></D:prop></D:propfind>`} {
		f.Add(body)
	}
	// Parsing and writing are what is tried: the files need not be there.
	v := &view{root: "/"}
	files := []entry{{folder: true}, {name: "nar", folder: true}, {name: "nix-cache-info", Info: layout.Info{Key: "nix-cache-info", Size: 7, ETag: "x"}}}
	f.Fuzz(func(t *testing.T, body string) {
		q, err := readPropfind([]byte(body))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		m := &multistatus{w: &response{ResponseWriter: w}, v: v, q: q}
		for i := range files {
			m.add(&files[i])
		}
		m.end()
		var s multi
		if err := xml.Unmarshal(w.Body.Bytes(), &s); err != nil || len(s.Responses) != len(files) {
			t.Errorf("%q: %v\n%s", body, err, w.Body)
		}
	})
}

// The answer to any PROPPATCH is well-formed.
func FuzzProppatch(f *testing.F) {
	for _, body := range []string{
		`<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>`,
		`<propertyupdate xmlns="DAV:"><remove><prop><x xmlns="u:&amp;"/><y xmlns=""/></prop></remove><set><prop><getetag>a<b/></getetag></prop></set></propertyupdate>`,
		"", "<", `<propertyupdate xmlns="DAV:"/>`, `<propertyupdate xmlns="DAV:"><set/></propertyupdate>`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		asked, err := readProppatch([]byte(body))
		if err != nil {
			return
		}
		b := append(asked.declare([]byte(`<D:multistatus xmlns:D="DAV:"`)), "><D:response>"...)
		b = append(asked.appendStat(b, asked.all, "200 OK"), "</D:response></D:multistatus>"...)
		var s multi
		if err := xml.Unmarshal(b, &s); err != nil || len(s.Responses) != 1 || len(asked.all) == 0 || len(asked.all) > maxProps {
			t.Errorf("%q: %v\n%s", body, err, b)
		}
	})
}

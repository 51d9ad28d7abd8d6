package webdav

import (
	"encoding/xml"
	"fmt"
	"io"
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
	xwebdav "golang.org/x/net/webdav"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
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
	want := map[string][]string{"": {"", "build-trace-v2/", "debuginfo/", "log/", "nar/", "realisations/"}}
	for _, key := range keysOf(t, r.dir) {
		dir := path.Dir(string(key))
		if dir == "." {
			dir = ""
		}
		want[dir] = append(want[dir], strings.NewReplacer("?", "%3F").Replace(string(key)))
	}
	for _, dir := range []string{"nar", "log", "debuginfo", "build-trace-v2", "realisations"} {
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
	// What is listed can be had under the very name.
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

// A listing that breaks off is no listing (I5).
func TestPropfindTrouble(t *testing.T) {
	mem := treetest.NewMem(t)
	treetest.Populate(t, mem)
	for at := range 3 {
		tree := &treetest.Faulty{Tree: mem, Fault: treetest.Fault{At: 1, Done: at > 0, Only: func(op treetest.Op, _ layout.Key) bool { return op == treetest.OpList }}}
		s := newServer(t, New(Config{Tree: tree, Log: quiet}))
		req, err := http.NewRequest("PROPFIND", s.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Depth", "1")
		resp, err := s.Client().Do(req)
		if err != nil {
			continue // the connection ended before an answer
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 207 && err == nil {
			t.Errorf("a listing that failed passed for the whole")
		}
	}
}

// Memory does not depend on how much a folder holds: what was written last is
// the size of a piece.
func TestPropfindStreams(t *testing.T) {
	mem := treetest.NewMem(t)
	for i := range 2000 {
		key, err := layout.ParseKey(fmt.Sprintf("log/%032d-x.drv", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := mem.Put(t.Context(), key, layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("PROPFIND", "/log", nil)
	r.Header.Set("Depth", "1")
	New(Config{Tree: mem, Log: quiet}).ServeHTTP(w, r)
	if n := strings.Count(w.Body.String(), "<D:response>"); n != 2001 || w.largest > 2*piece {
		t.Errorf("%d entries, in pieces of up to %d bytes", n, w.largest)
	}
}

type pieces struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}

const lockBody = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>` +
	`<D:locktype><D:write/></D:locktype><D:owner><D:href>http://example.org/me</D:href></D:owner></D:lockinfo>`

// lock locks a name and returns the token with its brackets.
func (r *rig) lock(t *testing.T, path string, want int) string {
	t.Helper()
	got := r.do(t, "LOCK", path, strings.NewReader(lockBody), "Timeout: Infinite, Second-4100000000", "Depth: 0")
	if got.Status != want {
		t.Fatalf("LOCK %s: %d %s", path, got.Status, got.Body)
	}
	return got.Header.Get("Lock-Token")
}

// What Finder does to copy a file: an empty one, a lock, the bytes in chunks,
// and the same for the file that it keeps its own notes in.
func TestFinder(t *testing.T) {
	dir, _ := example(t)
	r := newRig(t, nil)
	for _, key := range keysOf(t, dir) {
		if key == layout.CacheInfoKey {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, string(key)))
		if err != nil {
			t.Fatal(err)
		}
		name := "/upload/" + string(key)
		beside := path.Dir(name) + "/._" + path.Base(name)
		for _, file := range []struct {
			name, text string
		}{{name, string(text)}, {beside, "\x00\x05\x16\x07 notes"}} {
			if got := r.do(t, "PROPFIND", file.name, nil, "Depth: 0"); got.Status != 404 && got.Status != 207 {
				t.Errorf("PROPFIND %s: %d", file.name, got.Status)
			}
			if got := r.do(t, "PUT", file.name, nil); got.Status != 201 && got.Status != 204 {
				t.Errorf("an empty PUT %s: %d %s", file.name, got.Status, got.Body)
			}
			token := r.lock(t, file.name, 200)
			chunked := io.MultiReader(strings.NewReader(file.text[:len(file.text)/2]), strings.NewReader(file.text[len(file.text)/2:]))
			if got := r.do(t, "PUT", file.name, chunked, "If: ("+token+")", fmt.Sprint("X-Expected-Entity-Length: ", len(file.text))); got.Status != 201 && got.Status != 204 {
				t.Errorf("PUT %s: %d %s", file.name, got.Status, got.Body)
			}
			got := r.propfind(t, file.name, "0", "")
			if !slices.Contains(got.props(0, "200"), fmt.Sprint("getcontentlength=", len(file.text))) {
				t.Errorf("PROPFIND %s: %q, want %d bytes", file.name, got.props(0, "200"), len(file.text))
			}
			if got := r.do(t, "UNLOCK", file.name, nil, "Lock-Token: "+token); got.Status != 204 {
				t.Errorf("UNLOCK %s: %d", file.name, got.Status)
			}
		}
		if got := r.do(t, "GET", beside, nil); got.Status != 200 || !strings.Contains(got.Body, "notes") {
			t.Errorf("GET %s: %d %q", beside, got.Status, got.Body)
		}
		if got := r.do(t, "DELETE", beside, nil); got.Status != 204 {
			t.Errorf("DELETE %s: %d", beside, got.Status)
		}
		if got := r.do(t, "GET", "/"+strings.TrimPrefix(beside, "/upload/"), nil); got.Status != 404 {
			t.Errorf("readers see %s: %d", beside, got.Status)
		}
	}
	r.whole(t)
}

// What Explorer does: an empty file, a lock, times, a look, the bytes, times.
func TestExplorer(t *testing.T) {
	dir, _ := example(t)
	r := newRig(t, nil)
	times := `<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>` +
		`<Z:Win32CreationTime>Mon, 23 Nov 2026 07:00:00 GMT</Z:Win32CreationTime><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>`
	for _, key := range keysOf(t, dir) {
		if key == layout.CacheInfoKey {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, string(key)))
		if err != nil {
			t.Fatal(err)
		}
		name := "/upload/" + string(key)
		r.do(t, "PUT", name, nil)
		token := r.lock(t, name, 200)
		for range 2 {
			got := r.do(t, "PROPPATCH", name, strings.NewReader(times), "If: ("+token+")")
			if got.Status != 207 || !strings.Contains(got.Body, "HTTP/1.1 200 OK") || strings.Contains(got.Body, "HTTP/1.1 4") {
				t.Errorf("PROPPATCH %s: %d %s", name, got.Status, got.Body)
			}
			if got := r.do(t, "HEAD", name, nil); got.Status != 200 {
				t.Errorf("HEAD %s: %d", name, got.Status)
			}
			if got := r.do(t, "PUT", name, strings.NewReader(string(text)), "If: ("+token+")"); got.Status != 201 && got.Status != 204 {
				t.Errorf("PUT %s: %d %s", name, got.Status, got.Body)
			}
		}
		r.do(t, "UNLOCK", name, nil, "Lock-Token: "+token)
	}
	other := strings.ReplaceAll(times, "urn:schemas-microsoft-com:", "u:x")
	if got := r.do(t, "PROPPATCH", "/upload/nix-cache-info", strings.NewReader(other)); got.Status != 207 || !strings.Contains(got.Body, "HTTP/1.1 403") {
		t.Errorf("PROPPATCH of something else: %d %s", got.Status, got.Body)
	}
	for _, name := range []string{"desktop.ini", "nar/Thumbs.db"} {
		if got := r.do(t, "PUT", "/upload/"+name, strings.NewReader("x")); got.Status != 201 {
			t.Errorf("PUT %s: %d", name, got.Status)
		}
	}
	r.whole(t)
}

// What davfs2 does: a lock makes the file, the bytes follow when it is closed.
func TestLockFirst(t *testing.T) {
	dir, _ := example(t)
	r := newRig(t, nil)
	for _, key := range keysOf(t, dir) {
		if key == layout.CacheInfoKey {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, string(key)))
		if err != nil {
			t.Fatal(err)
		}
		name := "/upload/" + string(key)
		token := r.lock(t, name, 201)
		if got := r.do(t, "HEAD", "/"+string(key), nil); got.Status != 404 {
			t.Errorf("readers see an empty %s: %d", key, got.Status)
		}
		if got := r.do(t, "PUT", name, strings.NewReader(string(text))); got.Status != 423 {
			t.Errorf("PUT %s by another: %d", name, got.Status)
		}
		if got := r.do(t, "PUT", name, strings.NewReader(string(text)), "If: <"+r.URL+name+"> ("+token+")"); got.Status != 201 && got.Status != 204 {
			t.Errorf("PUT %s: %d %s", name, got.Status, got.Body)
		}
		r.do(t, "UNLOCK", name, nil, "Lock-Token: "+token)
	}
	r.whole(t)
}

func TestLocking(t *testing.T) {
	r, paths := populated(t)
	name := "/upload/" + string(layout.NarInfoKey(paths.Named("app").Info.Path))
	token := r.lock(t, name, 200)
	if got := r.propfind(t, name, "0", "").props(0, "200"); !strings.Contains(strings.Join(got, " "), strings.Trim(token, "<>")) {
		t.Errorf("the lock is not shown: %q", got)
	}
	if got := r.do(t, "LOCK", name, strings.NewReader(lockBody)); got.Status != 423 {
		t.Errorf("a second lock: %d", got.Status)
	}
	refreshed := r.do(t, "LOCK", name, nil, "If: ("+token+")", "Timeout: Second-60")
	if refreshed.Status != 200 || !strings.Contains(refreshed.Body, "Second-60<") {
		t.Errorf("a refresh: %d %s", refreshed.Status, refreshed.Body)
	}
	if got := r.do(t, "UNLOCK", name, nil, "Lock-Token: <opaquelocktoken:other>"); got.Status != 409 {
		t.Errorf("UNLOCK with another's token: %d", got.Status)
	}
	for _, path := range []string{"/upload/README", "/upload/nar/x", "/upload/.nixstatic/x", "/upload/.nixstatic/held/x"} {
		if got := r.do(t, "LOCK", path, strings.NewReader(lockBody)); got.Status != 403 {
			t.Errorf("LOCK %s: %d %s", path, got.Status, got.Body)
		}
	}
	if got := r.do(t, "LOCK", "/nix-cache-info", strings.NewReader(lockBody)); got.Status != 405 {
		t.Errorf("LOCK at the read URL: %d", got.Status)
	}
	if got := r.do(t, "LOCK", name, strings.NewReader(strings.Repeat("<a>", maxXML))); got.Status != 400 {
		t.Errorf("LOCK with a body without end: %d", got.Status)
	}
}

func TestFolders(t *testing.T) {
	r, _ := populated(t)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"MKCOL", "nar", 405}, {"MKCOL", "nar/", 405}, {"MKCOL", "realisations/", 405}, {"MKCOL", "", 405},
		{"MKCOL", "other", 403}, {"MKCOL", "nar/ab", 403}, {"MKCOL", ".nixstatic/x", 403}, {"MKCOL", "../x", 400},
		{"MKCOL", "build-trace-v2/x.drv", 201}, {"MKCOL", "build-trace-v2/x.drv/", 405}, {"MKCOL", "build-trace-v2/y.drv/z", 409},
		{"PROPFIND", "build-trace-v2/x.drv", 207}, {"DELETE", "build-trace-v2/x.drv", 204}, {"PROPFIND", "build-trace-v2/x.drv", 404},
		{"DELETE", "nar/", 403}, {"DELETE", "nix-cache-info", 403}, {"DELETE", "nothing", 404}, {"MOVE", "nix-cache-info", 403}, {"COPY", "nix-cache-info", 403},
		{"OPTIONS", "", 200}, {"OPTIONS", "nothing", 200}, {"POST", "nix-cache-info", 405}, {"PATCH", "nix-cache-info", 405},
	} {
		got := r.do(t, test.method, "/upload/"+test.path, nil, "Depth: 0", "Destination: "+r.URL+"/upload/index.html")
		if got.Status != test.want {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, got.Status, got.Body, test.want)
		}
		if test.method == "DELETE" && got.Status == 403 && !strings.Contains(got.Body, "nixstatic") {
			t.Errorf("the refusal does not name the command: %s", got.Body)
		}
	}
	for path, want := range map[string]string{"/upload/": "1, 2", "/": "1"} {
		if got := r.do(t, "OPTIONS", path, nil).Header.Get("DAV"); got != want {
			t.Errorf("OPTIONS %s: class %q, want %q", path, got, want)
		}
	}
	r.whole(t)
}

func TestLocks(t *testing.T) {
	l := newLocks()
	now := time.Now()
	forever := xwebdav.LockDetails{Root: "/upload/a", Duration: time.Hour * 1000, ZeroDepth: true, OwnerXML: strings.Repeat("x", maxOwner+1)}
	first, err := l.Create(now, forever)
	if err != nil {
		t.Fatal(err)
	}
	if found, ok := l.active("/upload/a/"); !ok || found.OwnerXML != "" || found.Duration > maxLockTime {
		t.Errorf("active: %+v", found)
	}
	if _, err := l.Create(now, xwebdav.LockDetails{Root: "/upload", Duration: time.Hour}); err != xwebdav.ErrLocked {
		t.Errorf("a folder over a lock: %v", err)
	}
	if _, err := l.Create(now.Add(2*maxLockTime), forever); err != nil {
		t.Errorf("after a lock expired: %v", err)
	}
	if err := l.Unlock(now.Add(2*maxLockTime), first); err != xwebdav.ErrNoSuchLock {
		t.Errorf("unlock what expired: %v", err)
	}
	l = newLocks()
	folder, err := l.Create(now, xwebdav.LockDetails{Root: "/upload/nar/", Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if l.holder("/upload/nar/x") != folder || l.holder("/upload/narx") != "" || l.holder("/upload") != "" || l.holder("/") != "" {
		t.Error("a lock of a folder holds what is in it, and nothing else")
	}
	release, err := l.Confirm(now, "/upload/nar/x", "", xwebdav.Condition{Token: folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(now, folder); err != xwebdav.ErrLocked {
		t.Errorf("unlock during a request: %v", err)
	}
	release()
	for i := range 2 * maxLocks {
		_, err := l.Create(now, xwebdav.LockDetails{Root: fmt.Sprint("/upload/", i), Duration: time.Minute, ZeroDepth: true})
		if err != nil != (i >= maxLocks-1) {
			t.Fatalf("lock %d: %v", i, err)
		}
	}
	for header, want := range map[string]time.Duration{"": maxLockTime, "Infinite": maxLockTime, "Second-60": time.Minute, "x, Second-5": 5 * time.Second,
		"Second-99999999999": maxLockTime, "Second-0": time.Second, "Second--1": maxLockTime} {
		if got := lockTime(header); got != want {
			t.Errorf("Timeout %q: %v, want %v", header, got, want)
		}
	}
}

// The If header decides about a PUT as RFC 4918 has it.
func TestIfHeader(t *testing.T) {
	r := newRig(t, nil)
	log := "/upload/log/" + strings.Repeat("0", 32) + "-x.drv"
	if got := r.do(t, "PUT", log, strings.NewReader("one")); got.Status != 201 {
		t.Fatal(got)
	}
	etag := r.do(t, "HEAD", log, nil).Header.Get("ETag")
	for _, locked := range []bool{false, true} {
		token := "<opaquelocktoken:none>"
		if locked {
			token = r.lock(t, log, 200)
		}
		for header, want := range map[string][2]int{
			"":                                      {204, 423},
			"(" + token + ")":                       {412, 204},
			"<http://x/y> (" + token + ")":          {412, 204},
			"(" + token + " [" + etag + "])":        {412, 204},
			"(" + token + " [\"other\"])":           {412, 412},
			"([" + etag + "])":                      {204, 423},
			"([\"other\"])":                         {412, 423},
			"(<DAV:no-lock>) (" + token + ")":       {412, 204},
			"(Not <DAV:no-lock>)":                   {204, 423},
			"(Not <DAV:no-lock> " + token + ")":     {412, 204},
			"(Not " + token + ")":                   {204, 423},
			"([\"other\"]) (Not <DAV:no-lock>)":     {204, 423},
			"nonsense":                              {400, 400},
			"(":                                     {400, 400},
			"()":                                    {400, 400},
			strings.Repeat("(<DAV:no-lock>)", 1000): {400, 400},
		} {
			i := 0
			if locked {
				i = 1
			}
			got := r.do(t, "PUT", log, strings.NewReader("one"), "If: "+header)
			if got.Status != want[i] {
				t.Errorf("locked %v, If: %.60s: %d %s, want %d", locked, header, got.Status, got.Body, want[i])
			}
		}
	}
}

// No path, however written, names anything but a key of its own tree.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{"/", "/upload", "/upload/", "/nix-cache-info", "//x", "/%2e%2e/x", "/nar%2Fx", "/upload/nar/..%2f", "/upload/log/00000000000000000000000000000000-a?b"} {
		f.Add(path)
	}
	h := newHandler(Config{Log: quiet}, fakeInbox{})
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest("GET", "http://x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = r.URL.Parse(path); err != nil {
			return
		}
		got := h.route(r)
		if got.key == "" {
			return
		}
		if _, err := layout.ParseKey(string(got.key)); err != nil || got.bad || got.slash || got.kind != got.key.Kind() {
			t.Errorf("%q: %+v, %v", path, got, err)
		}
		want := "/" + string(got.key)
		if got.upload {
			want = "/upload" + want
		}
		if r.URL.Path != want || strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
			t.Errorf("%q names %s", path, got.key)
		}
		got.withQuery(r)
	})
}

// Whatever a PROPFIND asks, the answer is well-formed.
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
	mem := treetest.NewMem(f)
	treetest.Populate(f, mem)
	h := newHandler(Config{Tree: mem, Log: quiet}, nil)
	f.Fuzz(func(t *testing.T, body string) {
		w, r := httptest.NewRecorder(), httptest.NewRequest("PROPFIND", "/", strings.NewReader(body))
		r.Header.Set("Depth", "1")
		h.ServeHTTP(w, r)
		if w.Code == 207 {
			var s multi
			if err := xml.Unmarshal(w.Body.Bytes(), &s); err != nil || len(s.Responses) < 10 {
				t.Errorf("%q: %v\n%s", body, err, w.Body)
			}
		}
	})
}

// Parsing an If header ends, and never makes conditions of nothing.
func FuzzParseIf(f *testing.F) {
	for _, s := range []string{"(<a>)", `<x> (Not <a> ["b"]) ([W/"c"])`, "(", "()", "Not", "<", "([)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lists, ok := parseIf(s)
		if !ok {
			return
		}
		for _, l := range lists {
			for _, c := range l.conditions {
				if (c.token == "") == (c.etag == "") {
					t.Errorf("%q: %+v", s, c)
				}
			}
		}
	})
}

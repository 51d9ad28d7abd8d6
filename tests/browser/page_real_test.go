//go:build real

package browser

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A world is a tree with a page: the closure of real packages, signed and pinned, and
// a path whose names are hostile.
type world struct {
	program nixtest.Program
	store   peers.Store
	dir     string
	hostile string // its store path
	names   map[string]string
}

// hostileFiles are names that a store path can have, with what is in the files.
func hostileFiles() map[string]string {
	return map[string]string{
		`<script>alert(1)<script>`:          "script",
		`"><img src=x onerror=alert(2)>`:    "image",
		"quotes '\"`${x}":                   "quotes",
		"\u202ertl\u2066mark":               "mark",
		strings.Repeat("n", 255):            "long",
		"percent%2e%2e#hash?query&amp;":     "percent",
		"__proto__":                         "prototype",
		"text with <b>tags<b> & \u202e.txt": "<script>alert(3)</script>\u202e\n",
	}
}

var made *world

// newWorld makes the world once, for all tests.
func newWorld(t *testing.T) *world {
	t.Helper()
	if made != nil {
		return made
	}
	w := &world{program: nixtest.Program{Nix: peers.Newest(t)}, store: peers.Closure(t), dir: filepath.Join(nixtest.SharedDir(t, "tree"), "cache"), names: hostileFiles()}
	key := w.program.NewKey(t, "cache.example.org-1")
	run := func(args ...string) string { return w.program.Run(t, args...).Want(t, 0).Output() }
	run("init", w.dir)
	run("export", "-q", "--store", w.store.Root, "--to", w.dir, "-k", key.File, "--compression", "zstd", w.store.Top)
	evil := filepath.Join(t.TempDir(), "evil")
	if err := os.MkdirAll(filepath.Join(evil, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range w.names {
		if err := os.WriteFile(filepath.Join(evil, "folder", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.hostile = run("add", "--to", w.dir, evil)
	run("pin", w.dir, "hosts/a", w.store.Top, "--note", "<script>alert(4)</script>")
	made = w
	return w
}

func hashOf(path string) string { return strings.TrimPrefix(path, "/nix/store/")[:32] }

// serve starts nixstatic serve for the tree.
func (w *world) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	running := nixtest.Start(t, w.program.Command(t, "serve", w.dir, "--read-only", "--listen", address))
	t.Cleanup(func() { running.Wait(t) }) // it ends with the context of the test
	for !running.Ended() {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return "http://" + address + "/"
		}
	}
	t.Fatalf("serve has ended: %v", running.Wait(t))
	return ""
}

// bucket mirrors the tree to a bucket that anyone may read.
func (w *world) bucket(t *testing.T) string {
	t.Helper()
	store := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.AccessKey, "AWS_SECRET_ACCESS_KEY": store.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "XDG_CACHE_HOME": t.TempDir()} {
		t.Setenv(name, value)
	}
	run := func(args ...string) {
		cmd := w.program.Command(t, args...)
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+store.AccessKey, "AWS_SECRET_ACCESS_KEY="+store.SecretKey,
			"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "XDG_CACHE_HOME="+t.TempDir())
		nixtest.Wait(t, cmd).Want(t, 0)
	}
	url := "s3://page?scheme=http&endpoint=" + strings.TrimPrefix(store.Endpoint, "http://")
	run("init", "--public", "--no-page", url)
	run("sync", "-q", w.dir, url)
	return store.Endpoint + "/page/"
}

// TestPage looks at one tree from each kind of host.
func TestPage(t *testing.T) {
	w := newWorld(t)
	w.program.Run(t, "page", "-q", w.dir, "--title", "A <b>cache</b>").Want(t, 0)
	for _, host := range []struct {
		name  string
		start func(*testing.T) string
		plain bool // it knows nothing of our 404, nor of "/"
	}{
		{"serve", w.serve, false},
		{"nginx", func(t *testing.T) string { return nixtest.ServeNginx(t, w.dir).URL + "/" }, false},
		{"bucket", w.bucket, true},
	} {
		t.Run(host.name, func(t *testing.T) {
			url := host.start(t)
			b := openTab(t)
			t.Run("index", func(t *testing.T) { w.index(t, b, url, host.plain) })
			t.Run("search", func(t *testing.T) { w.search(t, b, url) })
			t.Run("path", func(t *testing.T) { w.path(t, b, url) })
			t.Run("file", func(t *testing.T) { w.file(t, b, url) })
			t.Run("hostile", func(t *testing.T) { w.hostileNames(t, b, url, host.name == "serve") })
			t.Run("absent", func(t *testing.T) { w.absent(t, b, url, host.plain) })
			t.Run("without JavaScript", func(t *testing.T) { w.withoutScript(t, b, url) })
		})
	}
}

func (w *world) index(t *testing.T, b *tab, url string, plain bool) {
	if !plain {
		b.open(t, url)
	} else {
		b.open(t, url+"index.html")
	}
	b.until(t, `!document.querySelector("form.search").hidden`)
	if n := b.bytesMoved(); n == 0 || n > 100_000 {
		t.Errorf("the first load takes %d bytes", n)
	}
	if got := js[string](t, b, `document.querySelector("h1").textContent`); got != "A <b>cache</b>" {
		t.Errorf("the cache is called %q", got)
	}
	text := js[string](t, b, `document.body.textContent`)
	for _, want := range []string{"cache.example.org-1:", "nixstatic use " + strings.TrimSuffix(url, "/"), "hosts/a", fmt.Sprintf("%d paths", len(w.store.Paths))} {
		if !strings.Contains(text, want) {
			t.Errorf("the index lacks %q", want)
		}
	}
	// A script in the text of a page would not run: the policy forbids it.
	ran := js[bool](t, b, `(() => { const s = document.createElement("script"); s.textContent = "window.evil = 1"; document.body.append(s); return "evil" in window; })()`)
	if ran {
		t.Error("a script in the page runs")
	}
	b.expectTrouble(t, "Content Security Policy")
	b.untroubled(t)
}

// query types a query in the place of the one that is there.
func (b *tab) query(t *testing.T, text string) {
	t.Helper()
	js[bool](t, b, `(document.querySelector("#query").value = "", document.querySelector("#query").focus(), true)`)
	b.run(t, chromedp.SendKeys("#query", text, chromedp.ByQuery))
}

func (w *world) search(t *testing.T, b *tab, url string) {
	b.open(t, url+"index.html")
	b.bytesMoved()
	b.query(t, "VALG")
	b.until(t, `[...document.querySelectorAll("#hits a")].some((a) => a.textContent.includes("valgrind"))`)
	if n := b.bytesMoved(); n == 0 || n > 300_000 {
		t.Errorf("a query takes %d bytes", n)
	}
	// Several words, in the middle of a name too.
	b.query(t, "perl curl")
	b.until(t, `document.querySelectorAll("#hits a").length > 0 && [...document.querySelectorAll("#hits a")].every((a) => /curl.*perl|perl.*curl/.test(a.textContent))`)
	// The beginning of a hash.
	want := w.store.Named(t, "valgrind")
	b.query(t, hashOf(want)[:8])
	b.until(t, fmt.Sprintf(`document.querySelectorAll("#hits a").length === 1 && document.querySelector("#hits a").hash === "#%s"`, hashOf(want)))
	b.query(t, "nothinglikethis")
	b.until(t, `document.querySelector("#found").textContent.startsWith("Nothing")`)
	// A store path leads straight to its page.
	b.query(t, want+"/bin\r")
	b.until(t, `location.href.endsWith("path.html#`+hashOf(want)+`") && document.querySelector("h1").textContent.startsWith("valgrind")`)
	b.untroubled(t)
}

// button presses the button with a text.
func (b *tab) button(t *testing.T, text string) {
	t.Helper()
	b.until(t, fmt.Sprintf(`[...document.querySelectorAll("button")].some((x) => x.textContent === %q && !x.disabled)`, text))
	js[bool](t, b, fmt.Sprintf(`([...document.querySelectorAll("button")].find((x) => x.textContent === %q).click(), true)`, text))
}

func (w *world) path(t *testing.T, b *tab, url string) {
	b.open(t, url+"path.html#"+hashOf(w.store.Top))
	b.until(t, `document.querySelector("dl .good")?.textContent === "good"`)
	b.button(t, "Add it up")
	b.until(t, fmt.Sprintf(`document.querySelector("dl.facts").textContent.includes("%d paths, ")`, len(w.store.Paths)))
	// To a reference, and from there back up by what the pin knows.
	first := js[string](t, b, `document.querySelector("ul.plain a").hash`)
	js[bool](t, b, `(document.querySelector("ul.plain a").click(), true)`)
	b.until(t, fmt.Sprintf(`location.hash === %q && document.querySelector("#path").dataset.hash === %q && !document.querySelector("#path").hidden`, first, first[1:]))
	b.button(t, "Look in the closures of pins")
	b.until(t, fmt.Sprintf(`[...document.querySelectorAll("h3")].some((h) => h.textContent === "Pin hosts/a") && [...document.querySelectorAll("a")].some((a) => a.hash === "#%s")`, hashOf(w.store.Top)))
	b.untroubled(t)
	// A path that is not there.
	b.open(t, url+"path.html#"+strings.Repeat("0", 32))
	b.until(t, `document.querySelector("#message").textContent.includes("has no path")`)
	b.expectTrouble(t, "404")
	b.untroubled(t)
}

// download presses Download on the page of a file, and returns what arrives, and how
// many bytes that took.
func (b *tab) download(t *testing.T) ([]byte, int) {
	t.Helper()
	dir := t.TempDir()
	b.until(t, `document.querySelector("#file button.main") && !document.querySelector("#file button.main").disabled`)
	b.run(t, cdpbrowser.SetDownloadBehavior(cdpbrowser.SetDownloadBehaviorBehaviorAllowAndName).WithDownloadPath(dir).WithEventsEnabled(true))
	js[bool](t, b, `(delete document.querySelector("#file").dataset.moved, document.querySelector("#file button.main").click(), true)`)
	b.until(t, `document.querySelector("#file").dataset.moved !== undefined`)
	moved := js[string](t, b, `document.querySelector("#file").dataset.moved`)
	var n int
	fmt.Sscan(moved, &n)
	for {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 1 && !strings.HasSuffix(files[0], ".crdownload") {
			size := js[string](t, b, `document.querySelector("#file .note").textContent`)
			text, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > 0 || strings.HasPrefix(size, "0 B") {
				return text, n
			}
		}
	}
}

func (w *world) file(t *testing.T, b *tab, url string) {
	path := w.store.Named(t, "valgrind")
	// The last file of a large NAR, and the largest: both begin in the middle of one.
	var last, largest string
	var most int64
	root := filepath.Join(w.store.Root, path)
	err := filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			if last = name; info.Size() > most {
				largest, most = name, info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{last, largest} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		b.open(t, url+"path.html#"+hashOf(path)+"/"+rel)
		got, moved := b.download(t)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, or other ones", rel, len(got), len(want))
		}
		whole := js[int](t, b, fmt.Sprintf(`fetch("%s.narinfo").then((a) => a.text()).then((x) => Number(/FileSize: (.*)/.exec(x)[1]))`, hashOf(path)))
		if moved <= 0 || name == last && moved > whole/2 {
			t.Errorf("%s of %d bytes took %d of %d", rel, len(want), moved, whole)
		}
		t.Logf("%s: %d bytes, of the NAR's %d went over the network %d", rel, len(want), whole, moved)
	}
	b.untroubled(t)
}

func (w *world) hostileNames(t *testing.T, b *tab, url string, all bool) {
	b.open(t, url+"path.html#"+hashOf(w.hostile))
	b.until(t, `document.querySelector(".tree summary")`)
	js[bool](t, b, `(document.querySelector(".tree summary").click(), true)`)
	b.until(t, fmt.Sprintf(`document.querySelectorAll(".tree ul a").length === %d`, len(w.names)))
	links := map[string]string{}
	for name := range w.names {
		links[name] = js[string](t, b, fmt.Sprintf(`[...document.querySelectorAll(".tree ul a")].find((a) => a.textContent === %s)?.hash || ""`, jsText(name)))
		if links[name] == "" {
			t.Errorf("no link has the text %q", name)
		}
	}
	for name, text := range w.names {
		if files := name == "__proto__" || strings.HasPrefix(name, "text"); !files && !all {
			continue
		}
		js[bool](t, b, fmt.Sprintf(`(location.hash = %q, true)`, links[name]))
		b.until(t, fmt.Sprintf(`document.querySelector("#file h3")?.textContent === "folder/" + %s`, jsText(name)))
		if got, _ := b.download(t); string(got) != text {
			t.Errorf("%q holds %q", name, got)
		}
		b.button(t, "Show text")
		b.until(t, fmt.Sprintf(`document.querySelector("#file pre")?.textContent === %s`, jsText(text)))
	}
	if n := js[int](t, b, `document.querySelectorAll("script, img").length`); n != 1 {
		t.Errorf("the page has %d scripts and images", n)
	}
	b.untroubled(t)
}

// jsText writes a text as JavaScript has it.
func jsText(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u{%x}`, r)
	}
	return `"` + b.String() + `"`
}

func (w *world) absent(t *testing.T, b *tab, url string, plain bool) {
	if plain {
		return // a bucket has an answer of its own
	}
	b.open(t, url+"none/of/this")
	b.until(t, `document.querySelector("h1")?.textContent === "Not in this cache"`)
	if status := b.statuses[url+"none/of/this"]; status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	b.expectTrouble(t, "404")
	js[bool](t, b, `(setTimeout(() => document.querySelector("a").click()), true)`)
	b.until(t, `document.querySelector("form.search") && !document.querySelector("form.search").hidden`)
	b.untroubled(t)
	// Other clients hear what they always did.
	answer, err := http.Get(url + "none")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	text.ReadFrom(answer.Body)
	if answer.StatusCode != http.StatusNotFound || text.String() != "not in this cache\n" {
		t.Errorf("others get %d %q", answer.StatusCode, text.String())
	}
}

func (w *world) withoutScript(t *testing.T, b *tab, url string) {
	b.run(t, emulation.SetScriptExecutionDisabled(true), network.SetCacheDisabled(true))
	b.open(t, url+"index.html")
	var text string
	b.again(t, "its text", func() (bool, error) {
		err := chromedp.Run(b.Context, chromedp.Text("body", &text, chromedp.ByQuery))
		return strings.Contains(text, "Newest paths"), err
	})
	for _, want := range []string{"cache.example.org-1:", "Search needs JavaScript", "hosts/a", "Newest paths"} {
		if !strings.Contains(text, want) {
			t.Errorf("the index lacks %q:\n%s", want, text)
		}
	}
	b.run(t, emulation.SetScriptExecutionDisabled(false))
	b.untroubled(t)
}

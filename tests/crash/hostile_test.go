//go:build linux && real

package crash

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// lies are caches that no client may be led astray by. Each is refused with
// words that name the place.
var lies = map[string]struct {
	make  func(l *lie)
	words []string // besides the path
}{
	"NAR cut off":                {func(l *lie) { l.nar([]byte(narOf("content"))[:100]) }, nil},
	"NAR empty":                  {func(l *lie) { l.nar(nil) }, nil},
	"NAR missing":                {func(l *lie) { os.Remove(l.at("nar/x.nar")) }, []string{"nar/x.nar"}},
	"NAR and more":               {func(l *lie) { l.nar([]byte(narOf("content") + "more")) }, nil},
	"NAR and more, as recorded":  {func(l *lie) { l.content(narOf("content") + "more....") }, nil},
	"NAR of something else":      {func(l *lie) { l.nar([]byte(narOf("CONTENT"))) }, []string{"hashes to"}},
	"NAR is a web page":          {func(l *lie) { l.content("<html>not found</html>") }, nil},
	"padding is not zero":        {func(l *lie) { l.content(strings.Replace(narOf("content"), "content\x00", "content\x01", 1)) }, nil},
	"entries not in order":       {func(l *lie) { l.content(narOfDir(entry("b", ""), entry("a", ""))) }, nil},
	"entry twice":                {func(l *lie) { l.content(narOfDir(entry("a", ""), entry("a", ""))) }, nil},
	"entry ..":                   {func(l *lie) { l.content(narOfDir(entry("..", ""))) }, nil},
	"entry with a slash":         {func(l *lie) { l.content(narOfDir(entry("a/b", ""))) }, nil},
	"entry without a name":       {func(l *lie) { l.content(narOfDir(entry("", ""))) }, nil},
	"entry with a NUL":           {func(l *lie) { l.content(narOfDir(entry("a\x00b", ""))) }, nil},
	"directories 10,000 deep":    {func(l *lie) { l.content(deepNAR(10_000)) }, []string{"directories inside one another"}},
	"file of 8 EiB":              {func(l *lie) { l.content(narHead(1<<63-1) + "abcdefgh") }, nil},
	"word of 8 EiB":              {func(l *lie) { l.content("\xff\xff\xff\xff\xff\xff\xff\x7fnix-archive-1") }, nil},
	"size too small":             {func(l *lie) { l.set("NarSize", "100") }, []string{"100"}},
	"size too great":             {func(l *lie) { l.set("NarSize", "100000") }, nil},
	"size of 8 EiB":              {func(l *lie) { l.set("NarSize", "9223372036854775807") }, nil},
	"size of 16 EiB":             {func(l *lie) { l.set("NarSize", "18446744073709551615") }, []string{"NarSize"}},
	"size negative":              {func(l *lie) { l.set("NarSize", "-1") }, []string{"NarSize"}},
	"size 0":                     {func(l *lie) { l.set("NarSize", "0") }, []string{"NarSize"}},
	"hash of another length":     {func(l *lie) { l.set("NarHash", "sha256:abcd") }, []string{"NarHash"}},
	"another compression":        {func(l *lie) { l.set("Compression", "xz") }, nil},
	"no compression in zstd":     {func(l *lie) { l.set("Compression", "zstd") }, nil},
	"unknown compression":        {func(l *lie) { l.set("Compression", "lzma") }, []string{"lzma"}},
	"zstd and more":              {func(l *lie) { l.set("Compression", "zstd"); l.nar(append(l.zstd(), "more"...)) }, nil},
	"zstd cut off":               {func(l *lie) { l.set("Compression", "zstd"); l.nar(l.zstd()[:20]) }, nil},
	"URL of a parent":            {func(l *lie) { l.set("URL", "../../../../../../../../etc/passwd") }, []string{"leads out of the cache"}},
	"URL of a parent, escaped":   {func(l *lie) { l.set("URL", "nar/%2e%2e/%2e%2e/%2e%2e/etc/passwd") }, []string{"leads out of the cache"}},
	"URL of a parent, below nar": {func(l *lie) { l.set("URL", "nar/../../../../etc/passwd") }, []string{"leads out of the cache"}},
	"URL absolute":               {func(l *lie) { l.set("URL", "/etc/passwd") }, []string{"leads out of the cache"}},
	"URL of a file":              {func(l *lie) { l.set("URL", "file:///etc/passwd") }, []string{"leads out of the cache"}},
	"URL of what is private":     {func(l *lie) { l.set("URL", ".nixstatic/lock") }, []string{"leads out of the cache"}},
	"URL of the record":          {func(l *lie) { l.set("URL", hashOf(l.path)+".narinfo") }, nil},
	"URL of the folder":          {func(l *lie) { l.set("URL", "nar") }, nil},
	"URL with an escape code":    {func(l *lie) { l.set("URL", "nar/\x1b[2Jx.nar") }, nil},
	"NAR is a link out":          {func(l *lie) { l.link("nar/x.nar", "/etc/passwd") }, []string{"nar/x.nar"}},
	"NAR is a relative link out": {func(l *lie) { l.link("nar/x.nar", "../../tree/nix-cache-info") }, []string{"nar/x.nar"}},
	"NAR is a pipe":              {func(l *lie) { l.pipe("nar/x.nar") }, []string{"nar/x.nar"}},
	"record is a pipe":           {func(l *lie) { l.pipe(l.record()) }, []string{".narinfo"}},
	"record is a folder":         {func(l *lie) { os.Remove(l.at(l.record())); l.file(l.record()+"/x", "") }, nil},
	"record leads to itself":     {func(l *lie) { l.link(l.record(), l.record()) }, nil},
	"record is endless":          {func(l *lie) { l.link(l.record(), "/dev/zero") }, nil},
	"record is a hole of 1 TiB":  {func(l *lie) { os.Truncate(l.at(l.record()), 1<<40) }, []string{".narinfo"}},
	"record of 5 MB":             {func(l *lie) { l.set("Extra", strings.Repeat("x", 5<<20)) }, []string{".narinfo"}},
	"record is empty":            {func(l *lie) { l.file(l.record(), "") }, []string{".narinfo"}},
	"record is a web page":       {func(l *lie) { l.file(l.record(), "<html>not found</html>\n") }, []string{".narinfo"}},
	"narinfo of another path":    {func(l *lie) { l.set("StorePath", storeDir+"/"+baseName("lib")) }, []string{"it is the narinfo of"}},
	"record of another name":     {func(l *lie) { l.set("StorePath", l.path+"-2.0") }, []string{"it is the narinfo of"}},
	"record of another store":    {func(l *lie) { l.set("StorePath", "/gnu/store/"+baseName("base")) }, []string{"/gnu/store"}},
	"record of a parent":         {func(l *lie) { l.set("StorePath", storeDir+"/../"+baseName("base")) }, nil},
	"reference not there":        {func(l *lie) { l.set("References", baseName("lib")) }, []string{baseName("lib")}},
	"reference that leads out":   {func(l *lie) { l.set("References", "../../etc/passwd") }, []string{"References"}},
	"references in a circle":     {circle, []string{baseName("lib")}},
	"deriver that leads out":     {func(l *lie) { l.set("Deriver", "../../etc/passwd") }, []string{"Deriver"}},
	"cache of another store":     {func(l *lie) { l.file("nix-cache-info", "StoreDir: /gnu/store\n") }, []string{"/gnu/store"}},
	"cache without a store":      {func(l *lie) { l.file("nix-cache-info", "StoreDir: relative\n") }, []string{"relative"}},
	"cache-info missing":         {func(l *lie) { os.Remove(l.at("nix-cache-info")) }, []string{"nix-cache-info"}},
	"cache-info is a web page":   {func(l *lie) { l.file("nix-cache-info", "<html>welcome</html>") }, []string{"nix-cache-info"}},
	"cache-info is a pipe":       {func(l *lie) { l.pipe("nix-cache-info") }, []string{"nix-cache-info"}},
	"cache-info is endless":      {func(l *lie) { os.Truncate(l.at("nix-cache-info"), 1<<40) }, []string{"nix-cache-info"}},
}

func TestLies(t *testing.T) {
	p := newRunner(t)
	for name, test := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLie(t)
			test.make(l)
			words := test.words
			if !strings.HasPrefix(name, "cache") && name != "reference not there" {
				words = append([]string{hashOf(l.path)}, words...)
			}
			for _, how := range [][]string{nil, {"--compression", "gzip"}} {
				args := append([]string{"export", "--from", "file://" + l.dir, "--no-check-sigs", "--to", l.tree, l.path}, how...)
				r := p.Run(t, args...).Refused(t, words...)
				if strings.ContainsAny(r.Stderr, "\x1b\x00") {
					t.Errorf("the message steers the terminal: %q", r.Stderr)
				}
				l.nothing(t)
			}
			if _, err := os.Stat(l.tree); err == nil {
				p.Run(t, "init", l.tree).Want(t, 0)
				p.verify(t, l.tree, nil)
			}
		})
	}
}

// TestSignatureOfNoForm: a signature that nothing can verify vouches for nothing,
// loses no path, and is not written again: Nix since 2.34 could not read it.
func TestSignatureOfNoForm(t *testing.T) {
	p := newRunner(t)
	l := newLie(t)
	l.set("Sig", "no name")
	export := []string{"export", "--from", "file://" + l.dir, "--to", l.tree, l.path}
	p.Run(t, export...).Refused(t, hashOf(l.path))
	p.Run(t, append(export, "--no-check-sigs")...).Want(t, 0)
	text, err := os.ReadFile(filepath.Join(l.tree, hashOf(l.path)+".narinfo"))
	if err != nil || strings.Contains(string(text), "no name") {
		t.Errorf("the record is %q, %v", text, err)
	}
	p.verify(t, l.tree, nil)
}

// The paths of a closure that do not rest on its one bad path may get into the
// tree. Those that do may not.
func TestLieInTheMiddle(t *testing.T) {
	p, c := newRunner(t), small(t)
	dir := scratch(t)
	cache, tree := filepath.Join(dir, "cache"), filepath.Join(dir, "tree")
	copyTree(t, cache, c.Cache)
	record, err := os.ReadFile(filepath.Join(cache, strings.Repeat("l", 32)+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(string(record), "URL: ")
	url, _, _ = strings.Cut(url, "\n")
	nar, err := os.ReadFile(filepath.Join(cache, url))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(cache, url), string(nar[:len(nar)/2]))
	p.Run(t, "export", "--from", cache, "--no-check-sigs", "--to", tree, c.Top).Refused(t, baseName("lib"))
	p.verify(t, tree, leftovers)
	for _, name := range names(t, tree) {
		for _, bad := range []string{"lib", "make", "zenith"} {
			if name == hashOf(baseName(bad))+".narinfo" {
				t.Errorf("%s is published", name)
			}
		}
	}
	// From a source that is right the rest comes.
	p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Top)
	p.complete(t, tree, scenario{want: func(testing.TB) []string { return c.records() }})
}

func (l *lie) record() string { return hashOf(l.path) + ".narinfo" }

// zstd returns the cache's NAR, compressed.
func (l *lie) zstd() []byte {
	l.t.Helper()
	cmd := exec.Command(peers.Program(l.t, "zstd"), "-q", "-c")
	cmd.Stdin = strings.NewReader(narOf("content"))
	var out bytes.Buffer
	if cmd.Stdout = &out; cmd.Run() != nil {
		l.t.Fatal("zstd fails")
	}
	return out.Bytes()
}

// circle gives the cache a second path, which refers to the first and is
// referred to by it. No order of publication keeps I3 then.
func circle(l *lie) {
	other := newLie(l.t)
	other.path = storeDir + "/" + baseName("lib")
	other.set("StorePath", other.path)
	other.set("References", baseName("base"))
	text, err := os.ReadFile(other.at(other.record()))
	if err != nil {
		l.t.Fatal(err)
	}
	l.file(other.record(), string(text))
	l.set("References", baseName("lib"))
}

func deepNAR(depth int) string {
	down := words("entry", "(", "name", "d", "node", "(", "type", "directory")
	up := words(")", ")")
	return words("nix-archive-1", "(", "type", "directory") + strings.Repeat(down, depth) + strings.Repeat(up, depth) + words(")")
}

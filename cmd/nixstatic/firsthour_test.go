package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestTypo: a directory that does not exist is made by init, export and add alone.
func TestTypo(t *testing.T) {
	for _, line := range []string{
		"serve typo --listen 127.0.0.1:0", "serve typo --read-only --listen 127.0.0.1:0",
		"sign typo -k k", "verify typo", "verify typo --repair", "page typo", "find typo x", "ls typo x", "cat typo x/y", "info typo x",
		"du typo", "gc typo", "gc runs typo", "gc undo typo", "gc policy typo", "gc policy typo --reset", "gc why typo /nix/store/00000000000000000000000000000000-x",
		"pin typo n /nix/store/00000000000000000000000000000000-x", "pin list typo", "pin remove typo n", "pin rollback typo n",
		"rm typo /nix/store/00000000000000000000000000000000-x", "uses import typo k", "doctor typo", "sync typo copy", "use ./typo --write print",
	} {
		for _, kind := range []string{"absent", "empty", "photos"} {
			t.Run(line+" "+kind, func(t *testing.T) {
				t.Chdir(t.TempDir())
				t.Setenv("HOME", t.TempDir())
				if _, _, stderr := says(t, "key", "generate", "--name", "k-1", "--to", "k"); stderr != "" {
					t.Fatal(stderr)
				}
				want := []string{"k"}
				if kind != "absent" {
					os.Mkdir("typo", 0o777)
					want = []string{"k", "typo"}
				}
				if kind == "photos" {
					write(t, "typo/a.jpg", "photo")
				}
				code, _, stderr := says(t, strings.Fields(line)...)
				if code == 0 {
					t.Errorf("it succeeds: %s", stderr)
				}
				if diff := cmp.Diff(want, names(t, ".")); diff != "" {
					t.Errorf("left behind (-want +got):\n%s", diff)
				}
				if kind != "absent" {
					if got := names(t, "typo"); len(got) > 1 || len(got) == 1 && got[0] != "a.jpg" {
						t.Errorf("in the folder: %v", got)
					}
				}
				if kind == "photos" && strings.Contains(stderr, "nixstatic init") {
					t.Errorf("it suggests to make a cache among other things:\n%s", stderr)
				}
			})
		}
	}
}

// TestOccupied: what makes a cache does not do so among other things.
func TestOccupied(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "photos/2019/a.jpg", "photo")
	write(t, "files/x", "x")
	os.MkdirAll("lost/lost+found", 0o777)
	if code, _, stderr := says(t, "add", "--to", "cache", "files"); code != 0 {
		t.Fatal(stderr)
	}
	for _, line := range []string{"add --to photos files", "sync cache photos", "sync --dry-run cache photos",
		"export --no-check-sigs --from cache --to photos x", "quickstart --no-serve --dir q"} {
		if strings.HasPrefix(line, "quickstart") {
			write(t, "q/cache/a.jpg", "photo")
		}
		code, _, stderr := says(t, strings.Fields(line)...)
		if code != 1 && !strings.HasPrefix(line, "export") || code == 0 {
			t.Errorf("%s: exit code %d\n%s", line, code, stderr)
		}
		if diff := cmp.Diff([]string{"2019"}, names(t, "photos")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
		if !strings.HasPrefix(line, "export") && !strings.Contains(stderr, "something else, such as") {
			t.Errorf("%s: %s", line, stderr)
		}
	}
	if diff := cmp.Diff([]string{"a.jpg"}, names(t, "q/cache")); diff != "" {
		t.Errorf("quickstart (-want +got):\n%s", diff)
	}
	// Leftovers of a file system or of an earlier run do not count.
	for _, line := range []string{"add --to lost files", "sync cache copy", "sync cache copy", "init photos"} {
		if code, _, stderr := says(t, strings.Fields(line)...); code != 0 {
			t.Errorf("%s: %s", line, stderr)
		}
	}
}

// TestVersioned: what --json prints is an object with a version, whatever the command.
func TestVersioned(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/x", "x")
	says(t, "key", "generate", "--name", "k-1", "--to", "k")
	says(t, "token", "create", "--file", "tokens", "--name", "n", "--scope", "read")
	_, path, _ := says(t, "add", "--to", "cache", "files")
	path = strings.TrimSpace(path)
	says(t, "add", "--to", "cache", "--name", "other", "files")
	write(t, "log", "")
	tried := []string{"find"}
	for _, line := range []string{"init --json cache", "add --json --to cache files", "sign --json cache -k k", "verify --json cache", "page --json cache", "find --json --scan cache f*",
		"ls --json cache " + path, "info --json cache " + path, "du --json cache", "pin --json cache n " + path, "pin list --json cache", "token list --json --file tokens",
		"sync --json cache copy", "sync --json --dry-run cache copy2", "gc --json --dry-run cache", "gc policy --json cache", "gc runs --json cache", "gc why --json cache " + path,
		"uses import --json cache log", "rm --json --dry-run cache other", "export --json --no-check-sigs --from cache --to third " + path, "export --json -n --no-check-sigs --from cache --to fourth " + path,
		"doctor --json cache"} {
		code, stdout, stderr := says(t, strings.Fields(line)...)
		if strings.HasPrefix(line, "rm") { // a name is not a path
			_, other, _ := says(t, "add", "--to", "cache", "--name", "other", "files")
			code, stdout, stderr = says(t, "rm", "--json", "--dry-run", "cache", strings.TrimSpace(other))
		}
		d := json.NewDecoder(strings.NewReader(stdout))
		n := 0
		for d.More() {
			n++
			var v struct{ Version int }
			if err := d.Decode(&v); err != nil || v.Version < 1 {
				t.Errorf("%s: %v, version %d:\n%s%s", line, err, v.Version, stdout, stderr)
				break
			}
		}
		if n == 0 || code != 0 && !strings.HasPrefix(line, "doctor") {
			t.Errorf("%s: exit code %d, no JSON: %s", line, code, stderr)
		}
		words := strings.Fields(line)
		tried = append(tried, words[0], words[0]+" "+words[1])
	}
	everyCommand(t, func(words []string, c *cli.Command) {
		name := strings.Join(words, " ")
		takes := slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "json" })
		if takes && !slices.Contains(tried, name) && name != "push" && name != "gc undo" {
			t.Logf("the JSON of %s is not looked at here", name)
		}
	})
}

// TestKeys: a secret key comes from a file, from standard input or from the
// environment, and is shown nowhere.
func TestKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/x", "x")
	_, public, _ := says(t, "key", "generate", "--name", "k-1", "--to", "k")
	_, other, _ := says(t, "key", "generate", "--name", "other-1", "--to", "o")
	secret, err := os.ReadFile("k")
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, words ...string) (int, string) {
		t.Helper()
		var out, err strings.Builder
		code := runApp(t.Context(), append([]string{"nixstatic"}, words...), strings.NewReader(stdin), &out, &err)
		if text := out.String() + err.String(); strings.Contains(text, string(secret[10:40])) {
			t.Errorf("%v shows the key:\n%s", words, text)
		}
		return code, err.String()
	}
	signedBy := func(cache, key string) bool {
		t.Helper()
		code, _, _ := says(t, "verify", cache, "--trusted-public-keys", "other-2:"+strings.SplitN(strings.TrimSpace(other), ":", 2)[1]+" "+strings.TrimSpace(key))
		files, _ := filepath.Glob(cache + "/*.narinfo")
		text, _ := os.ReadFile(files[0])
		name, _, _ := strings.Cut(key, ":")
		return code == 0 && strings.Contains(string(text), "Sig: "+name+":")
	}
	if code, stderr := run(string(secret), "add", "--to", "stdin", "-k", "-", "files"); code != 0 || !signedBy("stdin", public) {
		t.Errorf("-k -: exit code %d, %s", code, stderr)
	}
	t.Setenv("NIXSTATIC_TO", "env")
	t.Setenv("NIXSTATIC_SECRET_KEY", string(secret)+"\n")
	if code, stderr := run("", "add", "files"); code != 0 || !signedBy("env", public) {
		t.Errorf("by the environment: exit code %d, %s", code, stderr)
	}
	if code, stderr := run("", "add", "--to", "flag", "-k", "o", "files"); code != 0 || !signedBy("flag", other) || signedBy("flag", public) {
		t.Errorf("flags before the environment: exit code %d, %s", code, stderr)
	}
	if code, stderr := run("", "sign", "flag"); code != 0 || !signedBy("flag", public) {
		t.Errorf("sign by the environment: exit code %d, %s", code, stderr)
	}
	if code, stderr := run(string(secret), "export", "-k", "-", "-"); code != exitUsage || !strings.Contains(stderr, "standard input cannot be read twice") {
		t.Errorf("paths and a key on standard input: exit code %d, %s", code, stderr)
	}
	if code, stderr := run(string(secret), "add", "-k", "-", "-k", "-", "files"); code != exitUsage || !strings.Contains(stderr, "standard input cannot be read twice") {
		t.Errorf("two keys on standard input: exit code %d, %s", code, stderr)
	}
	t.Setenv("NIXSTATIC_SECRET_KEY", "not-a-key-"+string(secret[10:40]))
	if code, stderr := run("", "add", "files"); code != 1 || !strings.Contains(stderr, "NIXSTATIC_SECRET_KEY: parse secret key") || !strings.Contains(stderr, "hint: nixstatic key generate") {
		t.Errorf("a bad key in the environment: exit code %d, %s", code, stderr)
	}
	if _, err := signer.ParseSecretKey(string(secret)); err != nil {
		t.Fatal(err)
	}
}

// TestVerbose: -v tells of each path.
func TestVerbose(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/x", "x")
	says(t, "key", "generate", "--name", "k-1", "--to", "k")
	_, path, stderr := says(t, "add", "-v", "--to", "cache", "files")
	if !strings.Contains(stderr, "add: files\n") {
		t.Errorf("add: %s", stderr)
	}
	path = strings.TrimSpace(path)
	for line, want := range map[string]string{
		"export -v --no-check-sigs --from cache --to copy " + path: "export: " + path + "\n",
		"verify -v cache":               ".narinfo\n",
		"verify --verbose --deep cache": "verify: nar/",
		"sign -v cache -k k":            "sign: ",
		"sync -v cache mirror":          "copy nar/",
	} {
		if code, _, stderr := says(t, strings.Fields(line)...); code != 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %swant %q", line, code, stderr, want)
		}
	}
}

// TestLinks: a link such as ./result means the path that it leads to, in all commands,
// through other links, and on a machine whose store does not have the path.
func TestLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/note", "a note")
	code, path, stderr := says(t, "add", "--to", "cache", "files")
	if code != 0 {
		t.Fatal(stderr)
	}
	for link, to := range map[string]string{"result": strings.TrimSpace(path), "chain": "result"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"cat cache ./LINK/note", "ls cache ./LINK", "ls cache ./LINK/", "info cache ./LINK", "doctor cache ./LINK",
		"pin cache name ./LINK", "gc why cache ./LINK", "export --from cache --to LINK.1 ./LINK", "sync cache LINK.2 ./LINK", "sync cache LINK.2 LINK",
		"rm cache ./LINK --with-referrers -n",
	} {
		for _, link := range []string{"chain", "result"} {
			if code, _, stderr := says(t, strings.Fields(strings.ReplaceAll(line, "LINK", link))...); code != 0 && !strings.Contains(stderr, "pin name@") {
				t.Errorf("%s of %s: exit code %d\n%s", line, link, code, stderr)
			}
		}
	}
	if code, _, stderr := says(t, "cat", "cache", "./files/note"); code != 2 || !strings.Contains(stderr, "is not a store path") {
		t.Errorf("a file that is in no store: exit code %d\n%s", code, stderr)
	}
}

// TestNextStep: what export says to do next leads clients to the key, which a cache that
// init did not make does not show.
func TestNextStep(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/note", "a note")
	_, path, _ := says(t, "add", "--to", "cache", "files")
	_, key, _ := says(t, "key", "generate", "--name", "k-1", "--to", "k")
	code, _, stderr := says(t, "export", "--from", "cache", "--to", "copy", "-k", "k", strings.TrimSpace(path))
	if want := "nixstatic use URL --key " + strings.TrimSpace(key); code != 0 || !strings.Contains(stderr, want) {
		t.Errorf("it does not say %q: exit code %d\n%s", want, code, stderr)
	}
}

// A file that takes long to add is told of meanwhile.
func TestAddTells(t *testing.T) {
	p := &addProgress{of: 2}
	p.file.Store(1)
	layout.CountWriter(io.Discard, &p.bytes).Write(make([]byte, 3e6))
	if got, want := p.line(2*time.Second), "add: 3.0 MB packed, 1.5 MB/s, file 1 of 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestKeyInThePlaceOfAFile: no message shows a secret key, and all say where it belongs.
func TestKeyInThePlaceOfAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/note", "a note")
	says(t, "key", "generate", "--name", "k-1", "--to", "k")
	says(t, "add", "--to", "cache", "files")
	text, err := os.ReadFile("k")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(text))
	_, secret, _ := strings.Cut(key, ":")
	for _, words := range [][]string{
		{"sign", "cache", "-k", key}, {"key", "public", key}, {"add", "--to", "cache", "-k", key, "files"}, {"export", "--to", "cache", "-k", key, "x"},
		{"serve", "cache", "-k", key}, {"adopt", "cache", "-k", key}, {"push", "-k", key, "cache", "x"}, {"sign", "cache", "-k", key + ",x"},
		{"verify", key}, {"find", "cache", key}, {"sync", key, "cache"}, {"use", key}, {key}, {"key", "public", "-k", key},
	} {
		code, stdout, stderr := says(t, words...)
		if code == 0 || strings.Contains(stdout+stderr, secret[:20]) {
			t.Errorf("%s: exit code %d, %s%s", strings.ReplaceAll(strings.Join(words, " "), key, "KEY"), code, stdout, stderr)
		}
		if words[len(words)-1] == key && (words[0] == "sign" || words[0] == "key") && words[1] != "public" && !strings.Contains(stderr, "$NIXSTATIC_SECRET_KEY has the key itself") {
			t.Errorf("%s: %s", words[0], stderr)
		}
	}
	// A hash may have as many bytes.
	hash := "sha512:" + strings.Repeat("A", 86) + "=="
	if got := discreet("the hash is " + hash); !strings.Contains(got, hash) {
		t.Errorf("a hash is hidden: %s", got)
	}
}

// TestBehindAWebServer: a command that works on a cache where it lies says so of a URL,
// and not that the cache is checked or signed.
func TestBehindAWebServer(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	const web = "https://cache.example.org"
	const path = "/nix/store/00000000000000000000000000000000-x"
	for _, line := range []string{"gc", "gc runs", "gc undo", "gc policy", "du", "page", "adopt", "pin list"} {
		words := append(strings.Fields(line), web)
		if code, _, stderr := says(t, words...); code != exitUsage || !strings.Contains(stderr, "cannot be pruned, pinned or changed: want the directory or the bucket") {
			t.Errorf("%s: exit code %d, %s", line, code, stderr)
		}
	}
	for _, words := range [][]string{{"pin", web, "n", path}, {"rm", web, path}, {"gc", "why", web, path}} {
		if code, _, stderr := says(t, words...); code != exitUsage || !strings.Contains(stderr, "cannot be pruned, pinned or changed") {
			t.Errorf("%s: exit code %d, %s", words, code, stderr)
		}
	}
}

// TestHintsOfPlaces: a file in the place of a cache, and an address without a port.
func TestHintsOfPlaces(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, "files/note", "a note")
	says(t, "add", "--to", "cache", "files")
	for line, want := range map[string]string{
		"verify files/note": "a cache is a directory", "serve files/note": "a cache is a directory", "doctor files/note": "a cache is a directory", "use ./files/note": "a cache is a directory",
		"sync cache files/note": "a cache is a directory", "gc files/note": "a cache is a directory", "find files/note x": "a cache is a directory",
		"serve cache --listen 8080": "want host:port", "serve cache --metrics-listen 80x": "want host:port", "verify s3://": "want s3://bucket",
	} {
		if code, _, stderr := says(t, anyAddress(strings.Fields(line))...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, it does not say %q:\n%s", line, code, want, stderr)
		}
	}
}

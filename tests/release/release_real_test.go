//go:build real

// Package release_test makes a release, and looks at it as those do who download it.
package release_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// run runs a program in a directory, and returns its standard output.
func run(t testing.TB, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// copyCheckout copies the files of the checkout, without what git knows of them.
func copyCheckout(t testing.TB, into string) {
	t.Helper()
	if err := os.MkdirAll(into, 0o777); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Dir(nixtest.Source(t, "go.mod")), nil, "sh", "-euc",
		`umask 077; git ls-files -z --cached --others --exclude-standard | tar -c --ignore-failed-read --null -T - | tar -x --no-same-permissions -C "$1"`, "sh", into)
}

const version = "v1.2.3-rc.1"

// The script takes these instead of what git knows.
var given = []string{"VERSION=" + version, "SOURCE_DATE_EPOCH=1500000000"}

var released string

// release returns a folder with a release for this machine.
func release(t testing.TB) string {
	t.Helper()
	if released == "" {
		dir := nixtest.SharedDir(t, "release")
		run(t, "", given, nixtest.Source(t, "cmd/nixstatic/release/build.sh"), dir, "linux/"+runtime.GOARCH)
		released = dir
	}
	return released
}

// Two users on two machines make a release of the same bytes, and nothing is missing in it.
func TestRelease(t *testing.T) {
	first := release(t)
	archive := "nixstatic-1.2.3-rc.1-linux-" + runtime.GOARCH + ".tar.gz"
	out, copied := t.TempDir(), filepath.Join(t.TempDir(), "a folder of", "another name")
	copyCheckout(t, copied)
	other := append(slices.Clone(given), "TZ=Asia/Kathmandu", "LC_ALL=C.UTF-8", "GOFLAGS=-buildvcs=true", "GOAMD64=v2", "HOSTNAME=elsewhere", "TAR_OPTIONS=--exclude=LICENSE", "GZIP=")
	run(t, copied, other, "sh", "-c", `umask 077; exec cmd/nixstatic/release/build.sh "$1" linux/$2`, "sh", filepath.Join(out, "two"), runtime.GOARCH)

	one, two := names(t, first), names(t, filepath.Join(out, "two"))
	want := []string{"SHA256SUMS", archive, "nixstatic_1.2.3-rc.1_" + runtime.GOARCH + ".deb"}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("a release (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("the second one (-first +second):\n%s", diff)
	}
	for _, name := range one {
		if !bytes.Equal(read(t, filepath.Join(first, name)), read(t, filepath.Join(out, "two", name))) {
			t.Errorf("%s is made of other bytes the second time", name)
		}
	}
	run(t, first, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	if n := strings.Count(string(read(t, first+"/SHA256SUMS")), "\n"); n != len(one)-1 {
		t.Errorf("SHA256SUMS names %d files of %d", n, len(one)-1)
	}

	prefix := t.TempDir()
	installByReadme(t, first, prefix)
	if got := run(t, "", nil, prefix+"/bin/nixstatic", "--version"); got != "nixstatic version "+version+"\n" {
		t.Errorf("the program says %q", got)
	}
	for _, name := range []string{"man/man1/nixstatic.1", "man/man1/nixstatic-gc-why.1", "bash-completion/completions/nixstatic",
		"zsh/site-functions/_nixstatic", "fish/vendor_completions.d/nixstatic.fish", "doc/nixstatic/LICENSE", "doc/nixstatic/examples/systemd/nixstatic.service"} {
		if len(read(t, filepath.Join(prefix, "share", name))) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	if page := string(read(t, prefix+"/share/man/man1/nixstatic.1")); !strings.Contains(page, `nixstatic v1.2.3\-rc.1`) {
		t.Errorf("the manual page has another version:\n%.200s", page)
	}
	// Links of the README lead to files of the archive.
	doc := filepath.Join(prefix, "share/doc/nixstatic")
	links := regexp.MustCompile(`\]\(([^):#]+)\)`).FindAllStringSubmatch(string(read(t, doc+"/README.md")), -1)
	for _, m := range links {
		if _, err := os.Stat(filepath.Join(doc, m[1])); err != nil {
			t.Errorf("README.md has a link to %s: %v", m[1], err)
		}
	}
	if len(links) < 10 {
		t.Errorf("README.md has %d links", len(links))
	}
	listing := run(t, "", []string{"TZ=UTC"}, "tar", "-tvzf", filepath.Join(first, archive))
	for line := range strings.Lines(listing) {
		if !regexp.MustCompile(`^(-rw-r--r--|[-d]rwxr-xr-x) 0/0 +\d+ 2017-07-14 02:40 `).MatchString(line) {
			t.Errorf("in the archive: %s", line)
		}
	}
}

// installByReadme installs a release with the commands of the README, but for the download.
func installByReadme(t *testing.T, release, prefix string) {
	t.Helper()
	block := regexp.MustCompile("(?ms)^```sh\n(release=.*?)^```$").FindStringSubmatch(string(read(t, nixtest.Source(t, "README.md"))))
	if block == nil {
		t.Fatal("README.md does not download a release")
	}
	oldnew := []string{"https://github.com/nixstatic/nixstatic/releases/download/v0.1.0", "file://" + release, "0.1.0", version[1:],
		"linux-amd64", "linux-" + runtime.GOARCH, "sudo tar -C /usr/local ", "tar -C " + prefix + " "}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(block[1], oldnew[i]) {
			t.Errorf("README.md does not hold %q:\n%s", oldnew[i], block[1])
		}
	}
	script := strings.NewReplacer(oldnew...).Replace(block[1])
	if out := run(t, t.TempDir(), nil, "bash", "-euxc", script); !strings.Contains(out, ".tar.gz: OK\n") {
		t.Errorf("the checksum is not checked:\n%s", out)
	}
}

// The version is that of the commit, in a checkout and in an archive that git makes of it.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	clone := filepath.Join(dir, "clone")
	copyCheckout(t, clone)
	env := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=n", "GIT_AUTHOR_EMAIL=n@example.org", "GIT_COMMITTER_NAME=n", "GIT_COMMITTER_EMAIL=n@example.org",
		"GIT_AUTHOR_DATE=1500000000 +0200", "GIT_COMMITTER_DATE=1500000000 +0200"}
	git := func(args ...string) { t.Helper(); run(t, clone, env, append([]string{"git"}, args...)...) }
	check := func(want string) {
		t.Helper()
		for _, kind := range []string{"checkout", "archive"} {
			at := clone
			if kind == "archive" {
				at = t.TempDir()
				run(t, clone, env, "sh", "-euc", `git archive HEAD | tar -x -C "$1"`, "sh", at)
			}
			got := run(t, at, env, at+"/cmd/nixstatic/release/version.sh")
			if !regexp.MustCompile(`^` + want + ` 1500000000\n$`).MatchString(got) {
				t.Errorf("in the %s the version is %q, want %s", kind, got, want)
			}
			// In a checkout Go finds it by itself.
			stamped := strings.Contains(run(t, at, env, "make", "-n", "build"), " -X main.release="+strings.Fields(got)[0]+"'")
			if stamped != (kind == "archive") {
				t.Errorf("the build in the %s is given a version: %v", kind, stamped)
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), clone+"/cmd/nixstatic/release/version.sh").CombinedOutput(); err == nil || !strings.Contains(string(out), "neither a git checkout") {
		t.Errorf("without git and archive: %v, %s", err, out)
	}
	git("init", "-q")
	git("add", "cmd/nixstatic/release", "Makefile", ".gitattributes")
	git("commit", "-q", "-m", "one")
	check(`v0\.0\.0-20170714024000-[0-9a-f]{12}`)
	git("tag", "v1.2.0")
	check(`v1\.2\.0`)
	git("commit", "-q", "--allow-empty", "-m", "two")
	check(`v1\.2\.0-1-g[0-9a-f]+`)
	if err := os.WriteFile(clone+"/Makefile", []byte("# changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := run(t, clone, env, clone+"/cmd/nixstatic/release/version.sh"); !strings.Contains(got, "-dirty ") {
		t.Errorf("with a change that is not committed: %q", got)
	}
}

func names(t testing.TB, dir string) (all []string) {
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

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return b
}

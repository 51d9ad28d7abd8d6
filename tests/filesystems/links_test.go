//go:build linux && real

package filesystems

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// As long as a part of a tree cannot be seen, no command says that all is well: the
// error names what it is, and the hint what to do.
func TestUnseen(t *testing.T) {
	any := filepath.Join(t.TempDir(), "any")
	sample(t, any)
	app := treetest.Record(t, treetest.OpenDir(t, any), "app")
	record, nar, listing := string(layout.NarInfoKey(app.Path)), app.URL, string(layout.ListingKey(app.Path))
	// away moves a part of a tree out of it, and leaves a link.
	away := func(t *testing.T, dir, part, target string) {
		t.Helper()
		path := filepath.Join(dir, part)
		outside := filepath.Join(elsewhere(t), filepath.Base(part))
		if err := exec.Command("mv", path, outside).Run(); err != nil {
			t.Fatal(err)
		}
		if target == "" {
			target = outside
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		says  []string
		hint  string
	}{
		{"a record that is a link outside", func(t *testing.T, dir string) { away(t, dir, record, "") },
			[]string{"symbolic link", "inside of the cache"}, "put what it leads to in its place"},
		{"a record that is a dangling link", func(t *testing.T, dir string) { away(t, dir, record, "gone") },
			[]string{"symbolic link to gone", "nothing is there"}, "mount what the link leads to, or remove the link"},
		{"a record that is a link to itself", func(t *testing.T, dir string) { away(t, dir, record, record) },
			[]string{"symbolic link"}, "mount what the link leads to, or remove the link"},
		{"a NAR that is a link outside", func(t *testing.T, dir string) { away(t, dir, nar, "") },
			[]string{"symbolic link", "inside of the cache"}, "put what it leads to in its place"},
		{"a listing that is a link outside", func(t *testing.T, dir string) { away(t, dir, listing, "") },
			[]string{"symbolic link", "inside of the cache"}, "put what it leads to in its place"},
		{"a page that is a link outside", func(t *testing.T, dir string) { away(t, dir, "index.html", "") },
			[]string{"symbolic link", "inside of the cache"}, "put what it leads to in its place"},
		{"a log that is a pipe", func(t *testing.T, dir string) {
			name := filepath.Join(dir, "log/00000000000000000000000000000000-x.drv")
			if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, []string{"log/", "not a regular file"}, ""},
		{"NARs behind a dangling link", func(t *testing.T, dir string) { away(t, dir, "nar", "/nonexistent/nar") },
			[]string{"nar is a symbolic link to /nonexistent/nar", "nothing is there"}, "mount what the link leads to"},
		{"logs behind a dangling link", func(t *testing.T, dir string) { away(t, dir, "log", "gone") },
			[]string{"log is a symbolic link to gone", "nothing is there"}, "mount what the link leads to"},
		{"a folder of realisations that is a link outside", func(t *testing.T, dir string) {
			mkdir(t, filepath.Join(dir, "build-trace-v2"))
			if err := os.Symlink(t.TempDir(), filepath.Join(dir, "build-trace-v2/00000000000000000000000000000000-x.drv")); err != nil {
				t.Fatal(err)
			}
		}, []string{"symbolic link", "inside of the cache"}, "put what it leads to in its place"},
		{"NARs in a folder that may not be read", func(t *testing.T, dir string) { deny(t, filepath.Join(dir, "nar")) },
			[]string{"nar", "permission denied"}, ""},
		{"logs in a folder that may not be read", func(t *testing.T, dir string) { deny(t, filepath.Join(dir, "log")) },
			[]string{"log", "permission denied"}, ""},
		{"a record that may not be read", func(t *testing.T, dir string) { deny(t, filepath.Join(dir, record)) },
			[]string{".narinfo", "permission denied"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			dir := filepath.Join(base, "source")
			sample(t, dir)
			c.spoil(t, dir)
			p := program(t)
			own(t, base)
			told := func(r nixtest.Result) {
				t.Helper()
				if r.Code != 1 {
					t.Errorf("nixstatic %s: exit code %d\n%s%s", strings.Join(r.Args, " "), r.Code, r.Stdout, r.Stderr)
				}
				if strings.Contains(r.Stderr, "0 problems") || strings.Contains(r.Stdout, "0 problems") {
					t.Errorf("nixstatic %s finds 0 problems:\n%s", strings.Join(r.Args, " "), r.Stderr)
				}
				for _, words := range c.says {
					if !strings.Contains(r.Stderr, words) {
						t.Errorf("nixstatic %s does not say %q:\n%s", strings.Join(r.Args, " "), words, r.Stderr)
					}
				}
			}
			told(nixtest.Wait(t, asOther(p.Command(t, "verify", dir))))
			told(nixtest.Wait(t, asOther(p.Command(t, "verify", "--deep", dir))))
			for _, args := range [][]string{{"sync"}, {"sync", "--delete"}, {"sync", "--dry-run"}} {
				copied := filepath.Join(base, "copy"+strings.Join(args, ""))
				r := nixtest.Wait(t, asOther(p.Command(t, append(args, dir, copied)...)))
				if args[len(args)-1] == "--dry-run" && strings.Contains(c.name, "record that may not") {
					continue // a plan reads nothing that is not at the destination
				}
				told(r)
				if c.hint != "" && !strings.Contains(r.Stderr, "nixstatic: hint: "+c.hint) {
					t.Errorf("sync does not advise to %s:\n%s", c.hint, r.Stderr)
				}
			}
			// A client that lists and reads what a server has is told as well.
			s := serve(t, asOther(p.Command(t, "serve", dir, "--listen", "127.0.0.1:0", "--read-only")))
			failed := false
			for _, name := range append([]string{"", record, nar}, layout.PublicFolders...) {
				method := "GET"
				if !strings.Contains(name, ".") {
					method = "PROPFIND"
				}
				failed = failed || request(t, method, s.url+"/"+name) >= 500
			}
			if !failed {
				t.Error("a server answers as if it had seen everything")
			}
		})
	}
}

// A copy by way of a server that cannot see everything is not whole in silence.
func TestUnseenServed(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "source")
	sample(t, dir)
	if err := os.Symlink(base, filepath.Join(dir, "robots.txt")); err != nil {
		t.Fatal(err)
	}
	p := program(t)
	s := serve(t, p.Command(t, "serve", dir, "--listen", "127.0.0.1:0", "--read-only"))
	if r := p.Run(t, "sync", s.url, filepath.Join(base, "copy")); r.Code != 1 {
		t.Errorf("sync from a server: exit code %d\n%s", r.Code, r.Stderr)
	}
}

// request returns the status of an answer, 599 if it broke off.
func request(t *testing.T, method, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Depth", "1")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 599
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 599
	}
	return answer.StatusCode
}

func deny(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(path, 0o755) })
}

// other is the user that runs nixstatic if root runs the tests: root may read
// everything.
const other = 65534

// own gives all below a directory to the other user, who can then reach it.
func own(t *testing.T, base string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for up := filepath.Dir(base); up != os.TempDir() && len(up) > 1; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(base, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, other, other)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asOther has a command run by someone whom permissions hold.
func asOther(cmd *exec.Cmd) *exec.Cmd {
	if os.Geteuid() == 0 {
		os.Chmod(filepath.Dir(filepath.Dir(cmd.Path)), 0o755) // where the program was built
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
		cmd.Dir = "/"
	}
	return cmd
}

// An object behind a link inside of the tree is read, listed, copied, signed and
// replaced like any other.
func TestLinksInside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	paths := sample(t, dir)
	p := program(t)
	key := p.NewKey(t, "ours-1")
	before := filepath.Join(t.TempDir(), "before")
	p.Run(t, "sync", dir, before).Want(t, 0)
	// All of it is in a folder of another name, behind links.
	mkdir(t, filepath.Join(dir, "data"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "data" || e.Name() == ".nixstatic" {
			continue
		}
		if err := errors.Join(os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, "data", e.Name())),
			os.Symlink("data/"+e.Name(), filepath.Join(dir, e.Name()))); err != nil {
			t.Fatal(err)
		}
	}
	whole(t, dir)
	copied := filepath.Join(t.TempDir(), "copy")
	p.Run(t, "sync", dir, copied).Want(t, 0)
	equal(t, before, copied)
	p.Run(t, "export", "--from", dir, "--no-check-sigs", "--to", filepath.Join(t.TempDir(), "exported"), paths[len(paths)-1]).Want(t, 0)
	p.Run(t, "sign", "-k", key.File, dir).Want(t, 0)
	p.Run(t, "verify", "--deep", "--trusted-public-key", key.Public, dir).Want(t, 0)
	p.Run(t, "sync", dir, copied).Want(t, 0)
	p.Run(t, "verify", "--trusted-public-key", key.Public, copied).Want(t, 0)
}

// A link is followed out of the tree if its owner is one who may decide that.
func TestLinkOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		return // links of other owners are root's to make
	}
	base := t.TempDir()
	dir, outside := filepath.Join(base, "cache"), filepath.Join(base, "nar")
	sample(t, dir)
	if err := os.Rename(filepath.Join(dir, "nar"), outside); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "nar")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	own(t, base)
	const stranger = 12345
	p := program(t)
	for _, c := range []struct {
		owner    int
		by       string
		followed bool
	}{{0, "root", true}, {other, "root", false}, {stranger, "root", false}, {0, "other", true}, {other, "other", true}, {stranger, "other", false}} {
		if err := os.Lchown(link, c.owner, c.owner); err != nil {
			t.Fatal(err)
		}
		cmd := p.Command(t, "verify", "--deep", dir)
		if c.by == "other" {
			asOther(cmd)
		}
		r := nixtest.Wait(t, cmd)
		if c.followed {
			r.Want(t, 0)
		} else if r.Want(t, 1); !strings.Contains(r.Stderr, "nar is a symbolic link to "+outside+", and belongs to neither root nor") {
			t.Errorf("a link of %d, seen by %s:\n%s", c.owner, c.by, r.Stderr)
		}
	}
}

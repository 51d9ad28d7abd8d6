//go:build linux && real

package filesystems

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A lack is what a file system cannot do.
type lack struct {
	name   string
	calls  string   // system calls, separated by commas, that fail
	errors []string // each of these in turn
	dirs   bool     // they fail for directories alone
	refuse string   // what the error has to say; "" if all works nevertheless
	more   []lack   // what it cannot do either
	unused bool     // no command calls it on a tree
}

// lacks are those of file systems that trees are put on: NFS, CIFS, FAT,
// exFAT, FUSE, 9P, Lustre, and stores of objects that are mounted.
var lacks = []lack{
	{name: "fsync of directories", calls: "fsync", dirs: true, errors: []string{"EINVAL", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR"}},
	{name: "fsync of directories, nor syncfs", calls: "fsync,syncfs", dirs: true, errors: []string{"EINVAL", "ENOSYS"}},
	{name: "fsync", calls: "fsync", errors: []string{"EINVAL", "EOPNOTSUPP", "ENOSYS"}},
	{name: "fsync nor syncfs", calls: "fsync,syncfs", errors: []string{"EINVAL", "ENOSYS"}, refuse: "this file system cannot bring files to disk"},
	{name: "renames without replacing", calls: "renameat2", errors: []string{"EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"}},
	{name: "hard links", calls: "linkat", errors: []string{"EPERM", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EINVAL", "EACCES"},
		more: []lack{{calls: "renameat2", errors: []string{"EINVAL"}}}},
	{name: "renames", calls: "renameat,renameat2,linkat", errors: []string{"ENOSYS", "EOPNOTSUPP", "EINVAL"}, refuse: "this file system cannot give a file this name"},
	{name: "locks", calls: "flock", errors: []string{"ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL"}, refuse: "this file system cannot lock files"},
	{name: "early writing", calls: "sync_file_range,fallocate,fadvise64,copy_file_range,sendfile,splice", errors: []string{"ENOSYS", "EINVAL", "EOPNOTSUPP"}},
	{name: "owners and modes", calls: "fchmod,fchmodat,fchown,fchownat,utimensat", errors: []string{"EPERM", "EOPNOTSUPP"}, unused: true},
	{name: "attributes and file handles", calls: "getxattr,fgetxattr,setxattr,fsetxattr,listxattr,statx,name_to_handle_at", errors: []string{"EOPNOTSUPP", "ENOSYS"}, unused: true},
	{name: "telling its size", calls: "statfs,fstatfs", errors: []string{"ENOSYS"}},
}

const logArg = 5 // of strace, where it says which calls failed

// injected has strace let the calls fail, for the files below dir.
func (l lack) injected(t *testing.T, cmd *exec.Cmd, errno, dir string) *exec.Cmd {
	t.Helper()
	args := []string{"strace", "-D", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "strace")}
	if l.dirs {
		for _, name := range []string{"", "..", ".nixstatic", ".nixstatic/staging", "nar", "log", "debuginfo", "build-trace-v2", "realisations"} {
			args = append(args, "-P", filepath.Join(dir, name))
		}
	}
	for i, l := range append([]lack{l}, l.more...) {
		if i > 0 {
			errno = l.errors[0]
		}
		args = append(args, "-e", "inject="+l.calls+":error="+errno)
	}
	cmd.Args = append(append(args, cmd.Path), cmd.Args[1:]...)
	cmd.Path = peers.Program(t, "strace")
	return cmd
}

// Each command does without what a file system lacks, in a way that is as safe, or
// is refused at once: then the error says what is lacking, and the hint does not
// blame the permissions.
func TestLacks(t *testing.T) {
	p := program(t)
	source := filepath.Join(t.TempDir(), "source")
	paths := sample(t, source)
	key := p.NewKey(t, "ours-1")
	file := filepath.Join(t.TempDir(), "file")
	large := make([]byte, 9<<20) // which is brought to disk early
	rand.Read(large)
	if err := os.WriteFile(file, large, 0o644); err != nil {
		t.Fatal(err)
	}
	export := func(dir string) []string {
		return append([]string{"export", "--from", source, "--no-check-sigs", "--debug-info", "--to", dir}, paths...)
	}
	for _, l := range lacks {
		for i, errno := range l.errors {
			t.Run(fmt.Sprintf("%s, %s", l.name, errno), func(t *testing.T) {
				t.Parallel()
				failed := false
				// run runs a command that lacks something, in a tree of its own, and
				// looks at what became of it.
				run := func(what string, fill bool, args func(dir string) []string) {
					t.Helper()
					dir := filepath.Join(elsewhere(t), "cache")
					if fill {
						p.Run(t, "sync", source, dir).Want(t, 0)
					}
					cmd := l.injected(t, p.Command(t, args(dir)...), errno, dir)
					checkLacking(t, what, nixtest.Wait(t, cmd), l.refuse)
					text, err := os.ReadFile(cmd.Args[logArg])
					if err != nil {
						t.Fatal(err)
					}
					failed = failed || strings.Contains(string(text), "(INJECTED)")
					if l.refuse == "" || fill {
						p.Run(t, "verify", "--deep", dir).Want(t, 0)
					}
					tidy(t, dir)
				}
				run("export", false, export)
				run("sign", true, func(dir string) []string { return []string{"sign", "-k", key.File, dir} })
				if i > 0 {
					return // the others do what these do
				}
				run("init", false, func(dir string) []string { return []string{"init", dir} })
				run("add", true, func(dir string) []string { return []string{"add", "--to", dir, file} })
				run("sync", false, func(dir string) []string { return []string{"sync", source, dir} })
				if failed == l.unused {
					t.Errorf("calls that failed: %v, against what the test knows", failed)
				}
				l.serve(t, p, source, errno)
				l.read(t, p, source, errno)
			})
		}
	}
}

func checkLacking(t *testing.T, what string, r nixtest.Result, refuse string) {
	t.Helper()
	if refuse == "" {
		if r.Code != 0 {
			t.Errorf("%s: exit code %d\n%s", what, r.Code, r.Stderr)
		}
		return
	}
	if r.Code != 1 || !strings.Contains(r.Stderr, refuse) || !strings.Contains(r.Stderr, "nixstatic: hint: docs/file-systems.md") {
		t.Errorf("%s: exit code %d, and it does not say %q\n%s", what, r.Code, refuse, r.Stderr)
	}
}

// serve takes what a client uploads, or does not start.
func (l lack) serve(t *testing.T, p nixtest.Program, source, errno string) {
	t.Helper()
	dir := filepath.Join(elsewhere(t), "cache")
	p.Run(t, "init", "--no-page", dir).Want(t, 0)
	args, user := serveArgs(t, p, dir)
	cmd := l.injected(t, p.Command(t, args...), errno, dir)
	if l.refuse != "" && !strings.Contains(l.refuse, "name") && !strings.Contains(l.refuse, "disk") {
		checkLacking(t, "serve", nixtest.Wait(t, cmd), l.refuse)
		return
	}
	s := serve(t, cmd)
	r := p.Run(t, "sync", source, s.upload(user))
	if l.refuse == "" {
		r.Want(t, 0)
		p.Run(t, "verify", "--deep", dir).Want(t, 0)
		return
	}
	if told := strings.TrimPrefix(l.refuse, "this file system "); r.Code != 1 || !strings.Contains(r.Stderr, "the file system of the cache "+told) {
		t.Errorf("a client of serve: exit code %d\n%s", r.Code, r.Stderr)
	}
	if records := treetest.OpenDir(t, dir); len(treetest.Contents(t, records)) > 1 {
		t.Errorf("after uploads that were refused there is %v", treetest.Contents(t, records))
	}
}

// read reads a tree, which asks little of a file system.
func (l lack) read(t *testing.T, p nixtest.Program, source, errno string) {
	t.Helper()
	copied := filepath.Join(elsewhere(t), "copy")
	for _, args := range [][]string{
		{"verify", "--deep", source},
		{"export", "--from", source, "--no-check-sigs", "--to", copied, string(layout.DefaultStoreDir) + "/" + string(treetest.Record(t, treetest.OpenDir(t, source), "app").Path)},
	} {
		if l.refuse != "" && args[0] == "export" {
			continue
		}
		nixtest.Wait(t, l.injected(t, p.Command(t, args...), errno, source)).Want(t, 0)
	}
}

// A watch that the system does not tell of changes compares everything from time to
// time.
func TestWatchLacks(t *testing.T) {
	p := program(t)
	base := t.TempDir()
	source, copied := filepath.Join(base, "source"), filepath.Join(base, "copy")
	sample(t, source)
	for _, l := range []lack{
		{calls: "inotify_init1", errors: []string{"ENOSYS", "EMFILE"}},
		{calls: "inotify_add_watch", errors: []string{"EINVAL", "ENOSPC"}},
	} {
		for _, errno := range l.errors {
			t.Run(l.calls+" "+errno, func(t *testing.T) {
				if err := os.RemoveAll(copied); err != nil {
					t.Fatal(err)
				}
				w := nixtest.Start(t, l.injected(t, p.Command(t, "sync", "--watch", "--rescan", "200ms", source, copied), errno, source))
				page := treetest.OpenDir(t, source)
				for i := range 3 {
					text := fmt.Sprint("page ", i)
					treetest.PutText(t, page, "index.html", text)
					for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
						if have, err := os.ReadFile(filepath.Join(copied, "index.html")); err == nil && string(have) == text {
							break
						}
						if w.Ended() || time.Now().After(deadline) {
							t.Fatalf("%q is not mirrored", text)
						}
					}
				}
				w.Signal(t, syscall.SIGTERM)
				if r := w.Wait(t).Want(t, 0); !strings.Contains(r.Stderr, "all is compared every") {
					t.Errorf("it does not say that changes are not told:\n%s", r.Stderr)
				}
			})
		}
	}
}

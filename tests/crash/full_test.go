//go:build linux && real

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A disk that runs full ends the run with advice, and leaves a tree that is
// right; given room, the next run completes it. The room differs, so that the
// disk is full in the middle of a NAR, of a record, and before anything.
func TestDiskFull(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	p, c := newRunner(t), large(t)
	for _, options := range []string{
		"size=4k", "size=16k", "size=100k", "size=1000k", "size=2500k", "size=4000k",
		"size=64m,nr_inodes=2", "size=64m,nr_inodes=5", "size=64m,nr_inodes=9", "size=64m,nr_inodes=14", "size=64m,nr_inodes=17",
	} {
		t.Run(options, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "disk")
			nixtest.Mount(t, dir, 0, options)
			tree := filepath.Join(dir, "tree")
			export := []string{"export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Top}
			for range 2 { // what the first run left must not be in the way of the second
				r := p.Run(t, export...).Refused(t, "no space left on device")
				wantHint(t, r, "make room and run the command again")
				p.sound(t, tree)
			}
			nixtest.Mount(t, dir, unix.MS_REMOUNT, "size=64m,nr_inodes=10000")
			p.Output(t, export...)
			p.complete(t, tree, scenario{want: func(testing.TB) []string { return c.records() }})
		})
	}
}

// A medium that is full keeps nothing of a bundle, and a tree that is full is right; given
// room, the same commands do all.
func TestBundleDiskFull(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	p, c := newRunner(t), large(t)
	whole := filepath.Join(t.TempDir(), "b.tar")
	p.Output(t, "bundle", "create", "-o", whole, c.Cache, c.Top)
	for _, options := range []string{"size=4k", "size=100k", "size=2500k", "size=4000k", "size=64m,nr_inodes=1"} {
		t.Run(options, func(t *testing.T) {
			medium, disk := filepath.Join(t.TempDir(), "medium"), filepath.Join(t.TempDir(), "disk")
			nixtest.Mount(t, medium, 0, options)
			nixtest.Mount(t, disk, 0, options)
			create := []string{"bundle", "create", "-o", filepath.Join(medium, "b.tar"), c.Cache, c.Top}
			r := p.Run(t, create...).Refused(t, "no space left on device")
			wantHint(t, r, "name a file on a medium with more room")
			if left := names(t, medium); len(left) > 0 {
				t.Errorf("on the medium is left %v", left)
			}
			tree := filepath.Join(disk, "tree")
			apply := []string{"bundle", "apply", whole, tree, "--no-check-sigs"}
			r = p.Run(t, apply...).Refused(t, "no space left on device")
			wantHint(t, r, "make room and run the command again")
			p.sound(t, tree)

			nixtest.Mount(t, medium, unix.MS_REMOUNT, "size=64m,nr_inodes=10000")
			nixtest.Mount(t, disk, unix.MS_REMOUNT, "size=64m,nr_inodes=10000")
			p.Output(t, create...)
			p.Output(t, apply...)
			p.complete(t, tree, scenario{want: func(testing.TB) []string { return c.records() }})
		})
	}
}

// On a full disk gc removes the bytes that are due, so that there is room for the rest.
func TestPruningFull(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	p, c := newRunner(t), small(t)
	dir := filepath.Join(t.TempDir(), "disk")
	nixtest.Mount(t, dir, 0, "size=64m")
	tree := filepath.Join(dir, "tree")
	p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Top)
	p.Output(t, "pin", tree, "stays", c.Paths[0])
	gc := []string{"gc", tree, "--keep-young", "0", "--grace", "0", "--max-removal", "100%", "--yes", "-q"}
	p.Output(t, append(gc, "--undo", "7d")...)
	withdrawn := len(paths(t, tree))
	before := len(names(t, filepath.Join(tree, "nar")))
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := fill.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	fill.Close()
	r := p.Run(t, append(gc, "--undo", "0")...).Refused(t, "no space left on device")
	wantHint(t, r, "make room and run the command again")
	after := len(names(t, filepath.Join(tree, "nar")))
	if after >= before {
		t.Errorf("there are %d NARs after the run, and were %d", after, before)
	}
	p.verify(t, tree, pruned)
	// The room is enough for the next run.
	p.Output(t, append(gc, "--undo", "0")...)
	p.verify(t, tree, pruned)
	if now := len(paths(t, tree)); now != withdrawn {
		t.Errorf("%d paths are there, want %d", now, withdrawn)
	}
}

// A tree that cannot be written to is refused with advice, and not touched.
func TestReadOnly(t *testing.T) {
	if !nixtest.Mounting(t) {
		return
	}
	p, c := newRunner(t), small(t)
	dir := filepath.Join(t.TempDir(), "disk")
	nixtest.Mount(t, dir, 0, "size=64m")
	tree := filepath.Join(dir, "tree")
	p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Paths[0])
	was := contents(t, tree)
	nixtest.Mount(t, dir, unix.MS_REMOUNT|unix.MS_RDONLY, "")

	for _, to := range []string{tree, filepath.Join(dir, "new")} {
		r := p.Run(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", to, c.Top).Refused(t, "read-only file system")
		wantHint(t, r, "mounted read-only")
	}
	r := p.Run(t, "sign", "-k", signingKey(t).File, tree).Refused(t, "read-only file system")
	wantHint(t, r, "mounted read-only")
	for _, args := range [][]string{{"gc", tree, "--no-pins"}, {"gc", "undo", tree}, {"rm", tree, c.Paths[0]}, {"adopt", tree}} {
		r := p.Run(t, args...).Refused(t, "lock "+tree, "read-only file system")
		wantHint(t, r, "mount it for writing")
	}
	r = p.Run(t, "serve", tree, "--listen", "127.0.0.1:0", "-k", signingKey(t).File).Refused(t, "write to "+tree)
	wantHint(t, r, "--read-only")
	// To look at it takes no right to write.
	p.verify(t, tree, nil)
	p.Output(t, "export", "--dry-run", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Top)
	if now := contents(t, tree); fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("the tree was %v and is %v", was, now)
	}
}

// A tree that belongs to another user is refused the same way.
func TestForbidden(t *testing.T) {
	p, c := newRunner(t), small(t)
	for name, test := range map[string]struct {
		lock func(tree string) string // what is taken away; returns the tree to write to
		made bool                     // the tree is there before
	}{
		"tree":    {func(tree string) string { return tree }, true},
		"nar":     {func(tree string) string { return filepath.Join(tree, "nar") }, true},
		"staging": {func(tree string) string { return filepath.Join(tree, ".nixstatic/staging") }, true},
		"parent":  {filepath.Dir, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree := filepath.Join(dir, "tree")
			if test.made {
				p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Paths[0])
			}
			was := contents(t, tree)
			locked := test.lock(tree)
			if err := os.Chmod(locked, 0o555); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(locked, 0o777) })
			r := asStranger(t, p, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Top)
			r.Refused(t, "permission denied")
			wantHint(t, r, "run the command as a user who may")
			if !test.made {
				return
			}
			p.verify(t, tree, []string{"unreferenced-nar", "unreferenced-listing"})
			now := contents(t, tree)
			for file, sum := range was {
				if now[file] != sum {
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

// A user who may not lock a tree is told so, by each command that locks it.
func TestForbiddenLock(t *testing.T) {
	p, c := newRunner(t), small(t)
	tree := filepath.Join(t.TempDir(), "tree")
	p.Output(t, "export", "--from", c.Cache, "--no-check-sigs", "--to", tree, c.Paths[0])
	private := filepath.Join(tree, ".nixstatic")
	if err := os.Chmod(private, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(private, 0o777) })
	was := contents(t, tree)
	for _, args := range [][]string{{"gc", tree, "--no-pins"}, {"gc", "undo", tree}, {"rm", tree, c.Paths[0]}, {"adopt", tree}} {
		r := asStranger(t, p, args...).Refused(t, "lock "+tree, "permission denied")
		wantHint(t, r, "run it as the user whose files those in "+tree+" are")
	}
	if now := contents(t, tree); fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("the tree was %v and is %v", was, now)
	}
}

func wantHint(t *testing.T, r nixtest.Result, words string) {
	t.Helper()
	for line := range strings.Lines(r.Stderr) {
		if strings.HasPrefix(line, "nixstatic: hint: ") && strings.Contains(line, words) {
			return
		}
	}
	t.Errorf("no hint holds %q:\n%s", words, r.Stderr)
}

// asStranger runs nixstatic without root's right to pass over modes.
func asStranger(t *testing.T, p runner, args ...string) nixtest.Result {
	t.Helper()
	cmd := p.Command(t, args...)
	if os.Getuid() == 0 {
		cmd.Args = append([]string{"setpriv", "--bounding-set=-dac_override,-dac_read_search", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = peers.Program(t, "setpriv")
	}
	return nixtest.Wait(t, cmd)
}

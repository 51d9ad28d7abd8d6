package layout_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// stagingChild names the tree in which the test program, run again as a child,
// stages a file and then does nothing until it is killed.
const stagingChild = "NIXSTATIC_TEST_STAGING_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(stagingChild); dir != "" {
		if err := stageForEver(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func stageForEver(dir string) error {
	tree, err := layout.OpenDir(dir)
	if err != nil {
		return err
	}
	f, err := tree.Create()
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte("half of")); err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until the parent goes
	return nil
}

// startChild returns a process that holds a staged file.
func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), stagingChild+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd
}

func openDir(t *testing.T, path string) *layout.Dir {
	t.Helper()
	d, err := layout.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func staged(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".nixstatic/staging/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestStagingSweep: what a living process stages is left alone, what a dead one
// left goes with the next that comes.
func TestStagingSweep(t *testing.T) {
	dir := t.TempDir()
	child := startChild(t, dir)
	theirs := staged(t, dir)
	if len(theirs) != 1 {
		t.Fatalf("the child staged %q", theirs)
	}
	put := func() {
		t.Helper()
		if err := openDir(t, dir).Put(t.Context(), "index.html", layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if got := staged(t, dir); len(got) != 1 || got[0] != theirs[0] {
		t.Errorf("with the child alive, staging holds %q, want %q", got, theirs)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if got := staged(t, dir); len(got) != 1 {
		t.Errorf("a killed child leaves %q", got)
	}
	put()
	if got := staged(t, dir); len(got) != 0 {
		t.Errorf("staging still holds %q", got)
	}
	if _, err := os.Stat(filepath.Dir(theirs[0])); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead child's folder: %v", err)
	}
}

// TestStagingRace: many come at once, and each takes the others' folders for
// what they are.
func TestStagingRace(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				d, err := layout.OpenDir(dir)
				if err != nil {
					t.Error(err)
					return
				}
				key := layout.Key(fmt.Sprintf("log/%032d-x.drv", i))
				err = d.Put(t.Context(), key, layout.Bytes([]byte("x")), layout.PutOptions{IfAbsent: true})
				if err := errors.Join(err, d.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if names, err := os.ReadDir(filepath.Join(dir, ".nixstatic/staging")); err != nil || len(names) != 0 {
			t.Errorf("left in staging: %v, %v", names, err)
		}
	}
}

// TestStagingStrangers: things that no one of us put there do not stop us.
func TestStagingStrangers(t *testing.T) {
	dir := t.TempDir()
	staging := filepath.Join(dir, ".nixstatic/staging")
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(staging+"/1-dead/sub", 0o755), syscall.Mkfifo(staging+"/pipe", 0o644),
		os.Symlink(outside, staging+"/link"), os.WriteFile(staging+"/file", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := openDir(t, dir).Put(t.Context(), "index.html", layout.Bytes(nil), layout.PutOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Errorf("outside the tree: %v", err)
	}
	if _, err := os.Stat(staging + "/1-dead"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead process's folder: %v", err)
	}
}

// TestSpoolFile: written once, read at will, renamed by Put without a copy.
func TestSpoolFile(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	for name, spool := range map[string]layout.Spool{"own": d, "temporary": layout.TempSpool(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			f, err := spool.Create()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Discard()
			for _, part := range []string{"hello", " ", "world"} {
				if n, err := f.Write([]byte(part)); err != nil || n != len(part) {
					t.Fatal(n, err)
				}
			}
			if err := f.Done(); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			for range 2 {
				if n, err := f.ReadAt(b, 6); err != nil || string(b[:n]) != "world" || f.Size() != 11 {
					t.Errorf("ReadAt = %q, %v; size %d", b[:n], err, f.Size())
				}
			}
			var before os.FileInfo
			if name == "own" {
				files := staged(t, dir)
				if len(files) != 1 {
					t.Fatalf("staged: %q", files)
				}
				if before, err = os.Stat(files[0]); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Put(t.Context(), "index.html", f, layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			after, err := os.Stat(filepath.Join(dir, "index.html"))
			if err != nil {
				t.Fatal(err)
			}
			if before != nil && !os.SameFile(before, after) {
				t.Error("Put copied a file of its own staging folder")
			}
			f.Discard()
			f.Discard()
			if text, err := os.ReadFile(filepath.Join(dir, "index.html")); err != nil || string(text) != "hello world" {
				t.Errorf("after Discard the object is %q, %v", text, err)
			}
			if left := staged(t, dir); len(left) > 0 {
				t.Errorf("left in staging: %q", left)
			}
		})
	}
	// A taken key leaves the file to its owner.
	f, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("again")); err != nil {
		t.Fatal(err)
	}
	if err := f.Done(); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "index.html", f, layout.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put of a taken key: %v", err)
	}
	if err := d.Put(t.Context(), "robots.txt", f, layout.PutOptions{IfAbsent: true}); err != nil {
		t.Errorf("Put elsewhere: %v", err)
	}
	f.Discard()
}

package nixconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func appendLine(line string) Edit {
	return Edit{Mode: 0o644, Change: func(text []byte) ([]byte, error) { return append(text, line+"\n"...), nil }}
}

// TestEditsExclude: edits at the same time lose nothing.
func TestEditsExclude(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nix.conf")
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			if changed, err := appendLine(fmt.Sprint("line ", i)).Apply(name); err != nil || !changed {
				t.Errorf("%v, %v", changed, err)
			}
		})
	}
	wait.Wait()
	text, err := os.ReadFile(name)
	if err != nil || strings.Count(string(text), "line ") != 20 {
		t.Errorf("%s%v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestEditModes: a new file has the mode that was asked for, an old one keeps its
// own; one with a secret is not for others.
func TestEditModes(t *testing.T) {
	for _, test := range []struct{ before, want fs.FileMode }{{0, 0o600}, {0o640, 0o640}, {0o644, 0o600}, {0o664, 0o600}, {0o600, 0o600}} {
		name := filepath.Join(t.TempDir(), "netrc")
		if test.before != 0 {
			write(t, name, "x\n")
			if err := os.Chmod(name, test.before); err != nil {
				t.Fatal(err)
			}
		}
		e := appendLine("y")
		e.Mode, e.Private = 0o600, true
		if _, err := e.Apply(name); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != test.want {
			t.Errorf("%o became %o, want %o: %v", test.before, st.Mode().Perm(), test.want, err)
		}
	}
}

// TestEditLinks: a link is followed and stays a link; one into a Nix store, and one
// that leads nowhere, are refused.
func TestEditLinks(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "dotfiles"), filepath.Join(dir, "nix.conf")
	write(t, real, "a = b\n")
	if err := os.Symlink("dotfiles", link); err != nil {
		t.Fatal(err)
	}
	if _, err := appendLine("c = d").Apply(link); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(real); err != nil || string(text) != "a = b\nc = d\n" {
		t.Errorf("%q, %v", text, err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	t.Setenv("NIX_STORE_DIR", dir)
	if _, err := appendLine("e = f").Apply(link); !errors.Is(err, ErrManaged) {
		t.Errorf("into a store: %v", err)
	}
	t.Setenv("NIX_STORE_DIR", "")
	if err := os.Remove(real); err != nil {
		t.Fatal(err)
	}
	if _, err := appendLine("e = f").Apply(link); err == nil {
		t.Error("written through a link that leads nowhere")
	}
}

// TestEditSweeps: what a process that was killed left goes with the next edit, and
// nothing else.
func TestEditSweeps(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".netrc.nixstatic-123"), "machine h password secret")
	write(t, filepath.Join(dir, ".nix.conf.nixstatic-123"), "another's")
	if _, err := appendLine("machine h").Apply(filepath.Join(dir, "netrc")); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".nix.conf.nixstatic-123", "netrc"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("%q is left, want %q: %v", left, want, err)
	}
}

// TestEditFailures: an edit that fails leaves the file as it was.
func TestEditFailures(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "nix.conf")
	write(t, name, "a = b\n")
	failing := Edit{Change: func([]byte) ([]byte, error) { return nil, errors.New("no") }}
	if _, err := failing.Apply(name); err == nil {
		t.Error("no error")
	}
	if changed, err := (Edit{Change: func(text []byte) ([]byte, error) { return text, nil }}).Apply(name); changed || err != nil {
		t.Errorf("nothing to change: %v, %v", changed, err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := appendLine("x").Apply(filepath.Join(dir, "pipe")); err == nil {
		t.Error("a pipe was written to")
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "a = b\n" {
		t.Errorf("%q, %v", text, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

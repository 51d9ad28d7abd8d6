package bundle

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func inFolder(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// Parts have their names once all of them are whole, and none before.
func TestFiles(t *testing.T) {
	for _, parts := range []bool{false, true} {
		dir := t.TempDir()
		name := filepath.Join(dir, "b.tar")
		count, want := 1, []string{"b.tar"}
		if parts {
			count, want = 3, []string{"b.tar.1", "b.tar.2", "b.tar.3"}
		}
		fill := func(f *Files) error {
			for range count {
				out, err := f.Next()
				if err != nil {
					return err
				}
				if _, err := io.WriteString(out, "text"); err != nil {
					return err
				}
				for _, have := range inFolder(t, dir) {
					if slices.Contains(want, have) && !f.Replace {
						t.Errorf("%s is there before all is written", have)
					}
				}
			}
			return nil
		}
		failed := &Files{Name: name, Parts: parts}
		if err := fill(failed); err != nil {
			t.Fatal(err)
		}
		if left := inFolder(t, dir); len(left) != count || !strings.HasSuffix(left[0], ".unfinished") {
			t.Errorf("unfinished are %q", left)
		}
		failed.Discard()
		if left := inFolder(t, dir); left != nil {
			t.Errorf("%q is left of what was discarded", left)
		}
		whole := &Files{Name: name, Parts: parts}
		if err := fill(whole); err != nil {
			t.Fatal(err)
		}
		names, err := whole.Done()
		whole.Discard()
		if got := inFolder(t, dir); err != nil || !slices.Equal(got, want) || len(names) != count || filepath.Base(names[0]) != want[0] {
			t.Errorf("%q, %v; the names are %q", got, err, names)
		}
		again := &Files{Name: name, Parts: parts}
		if err := fill(again); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over what is there: %v, want %v", err, fs.ErrExist)
		}
		again.Discard()
		over := &Files{Name: name, Parts: parts, Replace: true}
		if err := fill(over); err != nil {
			t.Fatal(err)
		}
		if _, err := over.Done(); err != nil {
			t.Fatal(err)
		}
		if got := inFolder(t, dir); !slices.Equal(got, want) {
			t.Errorf("replaced: %q", got)
		}
	}
}

// A name that is taken while the parts are written is not taken away.
func TestFilesTaken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.tar")
	f := &Files{Name: name}
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("another"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Done(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	f.Discard()
	if got := inFolder(t, filepath.Dir(name)); !slices.Equal(got, []string{"b.tar"}) {
		t.Errorf("left is %q", got)
	}
}

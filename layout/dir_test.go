package layout_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

const aNAR layout.Key = "nar/" + emptyNix32 + ".nar" // what it names has no bytes

func TestOpenDir(t *testing.T) {
	base := t.TempDir()
	d := openDir(t, base+"/a/b")
	if _, err := d.Stat(t.Context(), "index.html"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat in a folder that is not there: %v", err)
	}
	for info, err := range d.List(t.Context(), "") {
		t.Errorf("List: %v, %v", info, err)
	}
	if err := d.Delete(t.Context(), "index.html"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := os.Stat(base + "/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made a folder: %v", err)
	}
	if err := d.Put(t.Context(), aNAR, layout.Bytes(nil), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), string(aNAR))); err != nil {
		t.Error(err)
	}
	file := base + "/file"
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := layout.OpenDir(file); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenDir of a file: %v", err)
	}
}

// TestDirPlanted: someone who can write into the tree makes us touch nothing
// outside it, nor wait for ever, nor say "absent" of what we could not see (I5). A
// listing has an error where reading has one, and passes over what is absent.
func TestDirPlanted(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	type planted struct {
		name   string
		key    layout.Key
		plant  func(path string) error // at index.html, or nar for a NAR's key
		absent bool                    // else an error
	}
	cases := []planted{
		{"link to a file outside", "index.html", func(p string) error { return os.Symlink(secret, p) }, false},
		{"relative link outside", "index.html", func(p string) error { return os.Symlink("../"+filepath.Base(outside)+"/secret", p) }, false},
		{"dangling link", "index.html", func(p string) error { return os.Symlink("nowhere", p) }, false},
		{"link to itself", "index.html", func(p string) error { return os.Symlink("index.html", p) }, false},
		{"named pipe", "index.html", func(p string) error { return syscall.Mkfifo(p, 0o644) }, false},
		{"folder", "index.html", func(p string) error { return os.Mkdir(p, 0o755) }, true},
		{"folder that links nowhere", aNAR, func(p string) error { return os.Symlink("nowhere", p) }, false},
		{"folder that links nowhere outside", aNAR, func(p string) error { return os.Symlink(outside+"/nowhere", p) }, false},
		{"folder that links to itself", aNAR, func(p string) error { return os.Symlink("nar", p) }, false},
		{"folder that links to a file", aNAR, func(p string) error { return os.Symlink(secret, p) }, true},
		{"link outside in a folder", aNAR, func(p string) error {
			return errors.Join(os.Mkdir(p, 0o755), os.Symlink(secret, filepath.Join(p, string(aNAR[len("nar/"):]))))
		}, false},
		{"device", "index.html", func(p string) error { return os.Symlink("/dev/null", p) }, false},
		{"file for a folder", aNAR, func(p string) error { return os.WriteFile(p, nil, 0o644) }, true},
		{"pipe for a folder", aNAR, func(p string) error { return syscall.Mkfifo(p, 0o644) }, true},
	}
	if os.Geteuid() == 0 { // which alone can make links of other owners
		cases = append(cases, planted{"folder that someone else links outside", aNAR, func(p string) error {
			return errors.Join(os.Symlink(outside, p), os.Lchown(p, 65534, 65534))
		}, false})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := openDir(t, t.TempDir())
			first, _, _ := strings.Cut(string(c.key), "/")
			if err := c.plant(filepath.Join(d.Path(), first)); err != nil {
				t.Fatal(err)
			}
			r, _, err := d.Get(t.Context(), c.key)
			if err == nil {
				text, _ := io.ReadAll(r)
				t.Fatalf("Get = %q", text)
			}
			if errors.Is(err, fs.ErrNotExist) != c.absent {
				t.Errorf("Get: %v", err)
			}
			if _, err := d.Stat(t.Context(), c.key); err == nil || errors.Is(err, fs.ErrNotExist) != c.absent {
				t.Errorf("Stat: %v", err)
			}
			for _, prefix := range []string{"", string(c.key)} {
				told := false
				for info, err := range d.List(t.Context(), prefix) {
					if err == nil && info.Key.Kind() == layout.KindForeign {
						continue // a file called nar
					}
					if err == nil || errors.Is(err, fs.ErrNotExist) {
						t.Errorf("List %q: %v, %v", prefix, info, err)
					}
					told = true
				}
				if told == c.absent {
					t.Errorf("List %q tells of an error: %v", prefix, told)
				}
			}
			// A Put replaces a link, and writes through none.
			if err := d.Put(t.Context(), c.key, layout.Bytes([]byte("ours")), layout.PutOptions{}); err == nil {
				if text, err := layout.ReadAll(t.Context(), d, c.key); err != nil || string(text) != "ours" {
					t.Errorf("after a Put: %q, %v", text, err)
				}
				if err := d.Delete(t.Context(), c.key); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
			if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
				t.Errorf("outside the tree: %q, %v", text, err)
			}
			if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
				t.Errorf("outside the tree: %v, %v", names, err)
			}
		})
	}
}

// TestDirDeletesNoFolder: an empty folder is not an object.
func TestDirDeletesNoFolder(t *testing.T) {
	d := openDir(t, t.TempDir())
	for _, sub := range []string{"nar", "log/full"} {
		if err := os.MkdirAll(filepath.Join(d.Path(), sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []layout.Key{"nar", "log"} {
		if err := d.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete %s: %v", key, err)
		}
		if _, err := os.Stat(filepath.Join(d.Path(), string(key))); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestDirStrangers: files that no key names are neither listed nor in the way.
func TestDirStrangers(t *testing.T) {
	d := openDir(t, t.TempDir())
	names := []string{"README", "bad\nname", "back\\slash", "index.html.tmp.12.3", "nar"}
	if runtime.GOOS == "linux" { // macOS has no such names
		names = append(names, "bad\xffname")
	}
	for _, name := range names {
		path := filepath.Join(d.Path(), name)
		if name == "nar" {
			path = filepath.Join(path, "sub", "deep")
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var got []layout.Key
	for info, err := range d.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if diff := cmp.Diff([]layout.Key{"README", "index.html.tmp.12.3", "nar/sub/deep"}, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

// TestDirLongName: a key that no file can have is absent, not an error.
func TestDirLongName(t *testing.T) {
	d := openDir(t, t.TempDir())
	key := layout.Key("log/" + strings.Repeat("0", 32) + "-" + strings.Repeat("x", 300))
	if _, _, err := d.Get(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if _, err := d.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	if err := d.Put(t.Context(), key, layout.Bytes(nil), layout.PutOptions{}); err == nil {
		t.Error("Put succeeded")
	}
	if err := d.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// TestDirFolderGone: someone tidies up empty folders while we run.
func TestDirFolderGone(t *testing.T) {
	d := openDir(t, t.TempDir())
	for range 3 {
		if err := d.Put(t.Context(), aNAR, layout.Bytes(nil), layout.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(d.Path(), "nar")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDirEditedByHand: an edit in place, of the same length, is another version.
func TestDirEditedByHand(t *testing.T) {
	d := openDir(t, t.TempDir())
	if err := d.Put(t.Context(), "index.html", layout.Bytes([]byte("one")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	info, err := d.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), "index.html")
	later := info.ModTime.Add(1e6) // a millisecond
	if err := errors.Join(os.WriteFile(path, []byte("two"), 0o644), os.Chtimes(path, later, later)); err != nil {
		t.Fatal(err)
	}
	err = d.Put(t.Context(), "index.html", layout.Bytes([]byte("six")), layout.PutOptions{IfMatch: info.ETag})
	if !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Put if unchanged: %v", err)
	}
}

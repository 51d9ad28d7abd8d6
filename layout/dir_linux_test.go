package layout_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

// asNobody runs f with the rights of someone who owns nothing: root may do all,
// and tests often run as root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	// The thread ends with its goroutine if this cannot be undone.
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := unix.SetfsuidRetUid(0); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
}

// TestDirDenied: what we may not see is not absent (I5).
func TestDirDenied(t *testing.T) {
	base := t.TempDir()
	if err := os.Chmod(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, base)
	for _, key := range []layout.Key{"index.html", aNAR} {
		if err := d.Put(t.Context(), key, layout.Bytes(nil), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	deny := func(name string) {
		path := filepath.Join(base, name)
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, st.Mode()) })
	}
	deny("index.html")
	deny("nar")
	denied := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want a lack of permission", what, err)
		}
	}
	asNobody(t, func() {
		_, _, err := d.Get(t.Context(), "index.html")
		denied("Get of a file", err)
		_, _, err = d.Get(t.Context(), aNAR)
		denied("Get in a folder", err)
		_, err = d.Stat(t.Context(), aNAR)
		denied("Stat in a folder", err)
		_, err = d.Stat(t.Context(), "nar/none.nar")
		denied("Stat of what is not there, in a folder", err)
		var errs error
		for _, err := range d.List(t.Context(), "") {
			errs = errors.Join(errs, err)
		}
		denied("List", errs)
		denied("Delete in a folder", d.Delete(t.Context(), aNAR))
	})
	if os.Geteuid() == 0 { // whose own files the others may not write
		asNobody(t, func() {
			denied("Put", d.Put(t.Context(), "robots.txt", layout.Bytes(nil), layout.PutOptions{}))
			denied("Delete", d.Delete(t.Context(), "index.html"))
		})
	}
}

// TestDirEditedUnseen: an edit in place that keeps the inode, the length and the
// time of modification is another version all the same.
func TestDirEditedUnseen(t *testing.T) {
	d := openDir(t, t.TempDir())
	if err := d.Put(t.Context(), "index.html", layout.Bytes([]byte("one")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path(), "index.html")
	epoch := time.Unix(1, 0)
	if err := os.Chtimes(path, epoch, epoch); err != nil {
		t.Fatal(err)
	}
	before, err := d.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	// The clock of the file system may tick a few hundred times a second only.
	changed := func() int64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
	for was := changed(); changed() == was; {
		if err := errors.Join(os.WriteFile(path, []byte("two"), 0o644), os.Chtimes(path, epoch, epoch)); err != nil {
			t.Fatal(err)
		}
	}
	after, err := d.Stat(t.Context(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if after.Size != before.Size || !after.ModTime.Equal(before.ModTime) {
		t.Fatalf("the edit shows: %+v, then %+v", before, after)
	}
	if after.ETag == before.ETag {
		t.Errorf("both versions are called %s", after.ETag)
	}
	for info, err := range d.List(t.Context(), "index.html") {
		if err != nil || info.ETag != after.ETag {
			t.Errorf("List: %+v, %v; Stat: %s", info, err, after.ETag)
		}
	}
	err = d.Put(t.Context(), "index.html", layout.Bytes([]byte("six")), layout.PutOptions{IfMatch: before.ETag})
	if !errors.Is(err, layout.ErrChanged) {
		t.Errorf("Put if unchanged: %v", err)
	}
}

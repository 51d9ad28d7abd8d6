package compress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeXz puts a shell script in the place of the xz program.
func fakeXz(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	version := "if [ \"$1\" = --version ]; then echo 'xz (XZ Utils) 5.4.1'; exit; fi\n"
	if err := os.WriteFile(filepath.Join(dir, "xz"), []byte("#!/bin/sh\n"+version+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestXzWithoutProgram(t *testing.T) {
	t.Setenv("PATH", "")
	if note := XzNote(); !strings.Contains(note, "xz-utils") {
		t.Errorf("XzNote() = %q", note)
	}
	p := testPool(t, 2)
	for _, size := range []int{0, 1, testFrame * 4} {
		data := sample(size, 1)
		file := compressed(t, p, Xz, 0, data)
		if got, err := decompressed(Xz, file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read back %d, %v", size, len(got), err)
		}
	}
}

// An xz that is not of XZ Utils is as good as none.
func TestXzOfAnotherMake(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'xz: unrecognized option' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "xz"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if XzNote() == "" {
		t.Error("a program that does not know --version passes for xz")
	}
}

func TestXzFails(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"complains": {"echo xz: no memory >&2; exit 1", "exit status 1: xz: no memory"},
		"silent":    {"exit 3", "exit status 3"},
		"garbage":   {"cat", "not an xz file"},
		"nothing":   {"exec cat >/dev/null", "not an xz file"},
		"floods":    {"head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1", "xxxx"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeXz(t, c.script)
			p := testPool(t, 2)
			w, err := p.NewWriter(t.Context(), io.Discard, Xz, 0)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(sample(5*testFrame, 1))
			err = w.Close()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Close = %v, want %q in it", err, c.want)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// A child that does not end is killed with the context.
func TestXzHangs(t *testing.T) {
	fakeXz(t, "exec sleep 600")
	p := testPool(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := p.NewWriter(ctx, io.Discard, Xz, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("x"))
	timer := time.AfterFunc(50*time.Millisecond, cancel)
	defer timer.Stop()
	if err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("Close = %v", err)
	}
}

// Settings for xz in the user's environment change nothing.
func TestXzEnvironment(t *testing.T) {
	p := testPool(t, 1)
	data := sample(testFrame, 1)
	want := compressed(t, p, Xz, 6, data)
	t.Setenv("XZ_OPT", "-0 --check=none")
	t.Setenv("XZ_DEFAULTS", "--format=lzma")
	if got := compressed(t, p, Xz, 6, data); !bytes.Equal(got, want) {
		t.Error("XZ_OPT or XZ_DEFAULTS changed the output")
	}
}

func TestXzDictionary(t *testing.T) {
	for _, c := range []struct{ level, n, want int }{
		{6, 0, 64 << 10}, {6, 64 << 10, 64 << 10}, {6, 64<<10 + 1, 128 << 10}, {6, 5 << 20, 8 << 20},
		{6, 24 << 20, 8 << 20}, {1, 24 << 20, 1 << 20}, {9, 10 << 20, 16 << 20}, {9, 24 << 20, 24 << 20},
	} {
		t.Run(fmt.Sprintf("%d/%d", c.level, c.n), func(t *testing.T) {
			if got := xzDictionary(c.level, c.n); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

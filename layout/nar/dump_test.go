package nar

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestDumpBufferEdges moves the tokens after a file over the end of the buffer.
func TestDumpBufferEdges(t *testing.T) {
	const buffer = len(space{}.out)
	dir := t.TempDir()
	for size := buffer - 300; size <= buffer+8; size += 7 {
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, bytes.Repeat([]byte{'x'}, size), 0o644); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Dump(t.Context(), &got, dir); err != nil {
			t.Fatal(err)
		}
		again, err := reencode(t, got.Bytes(), 0)
		if err != nil || !bytes.Equal(again, got.Bytes()) {
			t.Fatalf("size %d: %v", size, err)
		}
	}
}

func TestDumpAndParseRandomTrees(t *testing.T) {
	for seed := range uint64(30) {
		want := randomTree(rand.New(rand.NewPCG(seed, 0)))
		var nar bytes.Buffer
		if err := Dump(t.Context(), &nar, write(t, want)); err != nil {
			t.Fatal(err)
		}
		for _, piece := range []int{0, 1, 13, 4096} {
			var got recorder
			if err := parse(nar.Bytes(), piece, &got); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if diff := cmp.Diff(want, got.files); diff != "" {
				t.Fatalf("seed %d, pieces of %d: visitor was told of another tree (-want +got):\n%s", seed, piece, diff)
			}
		}
	}
}

func TestDumpRefuses(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.MkdirAll(filepath.Join(root, "dir/in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "dir/in/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ path, names, says string }{
		{root + "/fifo", root + "/fifo", "a named pipe"},
		{root + "/sock", root + "/sock", "a socket"},
		{root + "/dir", root + "/dir/in/fifo", "a named pipe"},
		{"/dev/null", "/dev/null", "a device"},
		{root + "/none", root + "/none", "no such file"},
		{"", "", "invalid argument"},
		{root + "/nul\x00", root + "/nul\x00", "invalid argument"},
	}
	for _, tt := range tests {
		err := Dump(t.Context(), io.Discard, tt.path)
		var pe *fs.PathError
		if !errors.As(err, &pe) || pe.Path != tt.names || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Dump(%q) = %v, want an error about %q saying %q", tt.path, err, tt.names, tt.says)
		}
		if is := errors.Is(err, fs.ErrNotExist); is != (tt.says == "no such file") {
			t.Errorf("Dump(%q) = %v, is fs.ErrNotExist: %v", tt.path, err, is)
		}
	}
}

// onWrite is an io.Writer that calls a function at its first Write.
type onWrite struct{ f func() }

func (w *onWrite) Write(p []byte) (int, error) {
	if w.f != nil {
		w.f()
		w.f = nil
	}
	return len(p), nil
}

func TestDumpChangingTree(t *testing.T) {
	const size = 1 << 20
	tests := []struct {
		name   string
		change func(root string) error
		path   string // below the root
	}{
		{"shrink", func(root string) error { return os.Truncate(root+"/b", size-1) }, "/b"},
		{"grow", func(root string) error { return os.Truncate(root+"/b", size+1) }, "/b"},
		{"vanish", func(root string) error { return os.Remove(root + "/c") }, "/c"},
		{"directory vanishes", func(root string) error { return os.Remove(root + "/d") }, "/d"},
		{"link vanishes", func(root string) error { return os.Remove(root + "/e") }, "/e"},
		{"file becomes link", func(root string) error {
			return errors.Join(os.Remove(root+"/c"), os.Symlink("b", root+"/c"))
		}, "/c"},
		{"file becomes pipe", func(root string) error {
			return errors.Join(os.Remove(root+"/c"), unix.Mkfifo(root+"/c", 0o644))
		}, "/c"},
		{"link becomes file", func(root string) error {
			return errors.Join(os.Remove(root+"/e"), os.WriteFile(root+"/e", nil, 0o644))
		}, "/e"},
		{"directory becomes link", func(root string) error {
			return errors.Join(os.Remove(root+"/d"), os.Symlink("/", root+"/d"))
		}, "/d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := write(t, []file{regularFile("b", strings.Repeat("b", size)), regularFile("c", "c"), dirs("d"), link("e", "b")})
			w := &onWrite{func() {
				if err := tt.change(root); err != nil {
					t.Fatal(err)
				}
			}}
			err := Dump(t.Context(), w, root)
			var pe *fs.PathError
			if !errors.Is(err, errChanged) || !errors.As(err, &pe) || pe.Path != root+tt.path {
				t.Errorf("Dump = %v, want errChanged about %s", err, tt.path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Dump = %v, must not be fs.ErrNotExist", err)
			}
		})
	}
}

func TestDumpCancelled(t *testing.T) {
	root := write(t, []file{regularFile("b", strings.Repeat("b", 1<<20))})
	ctx, cancel := context.WithCancel(t.Context())
	if err := Dump(ctx, &onWrite{cancel}, root); !errors.Is(err, context.Canceled) {
		t.Errorf("Dump = %v, want it cancelled between chunks", err)
	}
	if err := Dump(ctx, io.Discard, root); !errors.Is(err, context.Canceled) {
		t.Errorf("Dump = %v, want it cancelled from the start", err)
	}
}

type badWriter struct{ err error }

func (w badWriter) Write(p []byte) (int, error) { return len(p) / 2, w.err }

func TestDumpWriteError(t *testing.T) {
	root := write(t, []file{regularFile("b", strings.Repeat("b", 1<<20))})
	for _, want := range []error{io.ErrShortWrite, io.ErrClosedPipe} {
		w := badWriter{want}
		if want == io.ErrShortWrite {
			w.err = nil
		}
		for _, path := range []string{root, root + "/b"} {
			if err := Dump(t.Context(), w, path); !errors.Is(err, want) {
				t.Errorf("Dump = %v, want %v", err, want)
			}
		}
	}
}

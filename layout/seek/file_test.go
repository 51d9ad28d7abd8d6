package seek_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/seek"
)

// Every file comes out as it is, whether the NAR is in frames or not, with a listing and
// without, in part and whole.
func TestWriteFile(t *testing.T) {
	data := archive(t)
	for name, c := range map[string]struct {
		method compress.Method
		file   []byte
		parts  bool
	}{
		"frames of 1 MiB": {compress.Zstd, framed(t, data, 1<<20), true},
		"frames of 3 MiB": {compress.Zstd, framed(t, data, 3<<20), true},
		"one frame":       {compress.Zstd, framed(t, data, len(data)), false},
		"not compressed":  {compress.None, data, true},
		"gzip":            {compress.Gzip, gzipped(t, compress.Gzip, data), false},
	} {
		t.Run(name, func(t *testing.T) {
			cache, n := newCache(t, c.method, c.file)
			check := func(when string, parts, whole bool) {
				t.Helper()
				for file, want := range contents {
					got, read, err := cache.cat(t, n, file, whole)
					if err != nil || got != want || read.Parts != parts || read.Doubt != nil {
						t.Errorf("%s: %q: %d bytes of %d, in parts: %v, doubt: %v, error: %v", when, file, len(got), len(want), read.Parts, read.Doubt, err)
					}
				}
				for file, want := range map[string]error{"": seek.ErrDirectory, "lib": seek.ErrDirectory, "lib/": seek.ErrDirectory, "b": fs.ErrNotExist,
					"bin/a": fs.ErrNotExist, "zz": fs.ErrNotExist, "a/b": seek.ErrNotDirectory, "lib/sub/zz": fs.ErrNotExist, "lib/../a": fs.ErrNotExist} {
					at := (*seek.PathError)(nil)
					if got, _, err := cache.cat(t, n, file, whole); got != "" || !errors.Is(err, want) || !errors.As(err, &at) {
						t.Errorf("%s: %q: %d bytes, %v, want %v", when, file, len(got), err, want)
					}
				}
				for file, want := range map[string]seek.LinkError{"link": {"link", "bin", ""}, "link/run": {"link", "bin", "run"}, "lib//./link": {"lib/link", "../bin/run", ""}} {
					link := (*seek.LinkError)(nil)
					_, _, err := cache.cat(t, n, file, whole)
					if !errors.As(err, &link) {
						t.Errorf("%s: %q: %v", when, file, err)
					} else if diff := cmp.Diff(want, *link); diff != "" {
						t.Errorf("%s: %q (-want +got):\n%s", when, file, diff)
					}
				}
			}
			check("with a listing", c.parts, false)
			check("whole", false, true)
			cache.relist(t, nil)
			check("without a listing", false, false)
			a, err := seek.Open(t.Context(), cache, n)
			if err != nil || !errors.Is(a.Unlisted, fs.ErrNotExist) {
				t.Fatalf("%v, %v", err, a.Unlisted)
			}
			root, err := a.Root(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if node, err := seek.Lookup(root, "lib/large"); err != nil || node.Size != int64(len(contents["lib/large"])) {
				t.Errorf("listed from the NAR: %+v, %v", node, err)
			}
		})
	}
}

// No more is read than the frames that hold a file.
func TestReadsFramesAlone(t *testing.T) {
	data := archive(t)
	file := framed(t, data, 1<<20)
	cache, n := newCache(t, compress.Zstd, file)
	for name, most := range map[string]int{"z/last": 1, "bin/run": 1, "a": 2, "lib/large": 4} {
		cache.read.Store(0)
		if _, read, err := cache.cat(t, n, name, false); err != nil || !read.Parts || cache.read.Load() > int64(most)<<20+100_000 || read.Bytes > cache.read.Load() {
			t.Errorf("%s: %d bytes of %d were read, %+v, %v", name, cache.read.Load(), len(file), read, err)
		}
	}
}

// Damage to the NAR is an error: in the frames that are read at once, in all with Whole.
func TestDamagedNAR(t *testing.T) {
	data := archive(t)
	file := framed(t, data, 1<<20)
	cache, n := newCache(t, compress.Zstd, file)
	info, err := layout.FindNAR(t.Context(), cache, n)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"cut":     file[:len(file)-1000],
		"zeros":   make([]byte, len(file)),
		"another": framed(t, append(slices.Clone(data[:len(data)-8]), "12345678"...), 1<<20),
		"nothing": {},
	} {
		if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(info.Key)), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := cache.cat(t, n, "z/last", true)
		if err == nil {
			t.Errorf("%s: no error with Whole", name)
		}
		got, _, err := cache.cat(t, n, "z/last", false)
		if err == nil && got != contents["z/last"] {
			t.Errorf("%s: %d wrong bytes, and no error", name, len(got))
		}
	}
}

// An error of where the file goes is that error, and the NAR is not read again for it.
func TestWriteFails(t *testing.T) {
	data := archive(t)
	cache, n := newCache(t, compress.Zstd, framed(t, data, 1<<20))
	for _, listed := range []bool{true, false} {
		if !listed {
			cache.relist(t, nil)
		}
		a, err := seek.Open(t.Context(), cache, n)
		if err != nil {
			t.Fatal(err)
		}
		cache.read.Store(0)
		if _, err := a.WriteFile(t.Context(), failing{}, "bin/run"); !errors.Is(err, errFull) {
			t.Errorf("listed %v: %v", listed, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := seek.Open(ctx, cache, n)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := a.WriteFile(ctx, io.Discard, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

var errFull = errors.New("no space left")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

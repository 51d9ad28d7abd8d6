package seek_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/seek"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The files of the path that the tests read. Three of them are larger than a frame.
var contents = func() map[string]string {
	r := rand.NewChaCha8([32]byte{1})
	noise := func(n int) string {
		b := make([]byte, n)
		r.Read(b)
		return string(b)
	}
	return map[string]string{
		"a":             noise(3 << 19),
		"bin/run":       "#!/bin/sh\n", // executable
		"bin/zero":      "",
		"lib/large":     noise(5<<19 + 3),
		"lib/small":     "small\n",
		"lib/sub/small": "another\n",
		"z\xff":         "a name that is not UTF-8\n",
		"z/last":        noise(10_000),
	}
}()

// archive returns the NAR of those files, and of the links beside them.
func archive(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if name == "bin/run" {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "bin", "lib/link": "../bin/run"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := nar.Dump(context.Background(), &out, dir); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// framed compresses a NAR in frames of that many bytes.
func framed(t testing.TB, data []byte, size int) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for piece := range slices.Chunk(data, size) {
		file = z.EncodeAll(piece, file)
	}
	return file
}

const path = layout.StorePath("00000000000000000000000000000000-files")

// A cached is a tree in a directory with one path. It counts the bytes of NARs that are read.
type cached struct {
	*layout.Dir
	read atomic.Int64
}

func (c *cached) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, info, err := c.Dir.Get(ctx, key)
	if err == nil && key.Kind() == layout.KindNAR {
		body = &counted{body, body.(io.Seeker), &c.read}
	}
	return body, info, err
}

type counted struct {
	io.ReadCloser
	io.Seeker
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// newCache makes a tree with the NAR in a file of that method.
func newCache(t testing.TB, method compress.Method, file []byte) (*cached, *layout.NarInfo) {
	t.Helper()
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := layout.Init(context.Background(), dir, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	w := &layout.Writer{Tree: dir, StoreDir: layout.DefaultStoreDir}
	packed, err := w.Keep(context.Background(), nil, method, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(context.Background(), []layout.Item{{Info: layout.PathInfo{Path: path}, Packed: packed}}); err != nil {
		t.Fatal(err)
	}
	c := &cached{Dir: dir}
	n, err := seek.Record(context.Background(), c, path.Hash(), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

// relist puts another listing; nil removes it.
func (c *cached) relist(t testing.TB, text []byte) {
	t.Helper()
	var err error
	if text == nil {
		err = c.Delete(context.Background(), layout.ListingKey(path))
	} else {
		err = c.Put(context.Background(), layout.ListingKey(path), layout.Bytes(text), layout.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cached) cat(t testing.TB, n *layout.NarInfo, file string, whole bool) (string, seek.Read, error) {
	t.Helper()
	a, err := seek.Open(context.Background(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	a.Whole = whole
	var out bytes.Buffer
	read, err := a.WriteFile(context.Background(), &out, file)
	return out.String(), read, err
}

func gzipped(t testing.TB, m compress.Method, data []byte) []byte {
	t.Helper()
	pool := compress.NewPool(1)
	defer pool.Close()
	var out bytes.Buffer
	z, err := pool.NewWriter(context.Background(), &out, m, 1)
	if err == nil {
		_, err = z.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

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

// A listing that is wrong is not believed, and costs no more reading than the NAR
// has: what comes out is the file or an error.
func TestWrongListing(t *testing.T) {
	data := archive(t)
	cache, n := newCache(t, compress.Zstd, framed(t, data, 1<<20))
	right, err := layout.ReadAll(t.Context(), cache, layout.ListingKey(path))
	if err != nil {
		t.Fatal(err)
	}
	root, frames, err := nar.ParseSeekable(bytes.NewReader(right), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(file string, change func(*nar.Node), reframe func(*nar.Seek)) []byte {
		node, err := seek.Lookup(root, file)
		if err != nil {
			t.Fatal(err)
		}
		before, list := *node, slices.Clone(frames.Frames)
		defer func() { *node = before }()
		s := &nar.Seek{File: frames.File, Frames: list}
		if change != nil {
			change(node)
		}
		if reframe != nil {
			reframe(s)
		}
		var out bytes.Buffer
		w := nar.NewListingWriter(&out)
		w.Seek = s
		if err := errors.Join(root.Walk(w), w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	const file = "lib/small"
	for name, c := range map[string]struct {
		listing []byte
		doubt   bool
	}{
		"offset too large":      {edit(file, func(n *nar.Node) { n.NarOffset += 8 }, nil), true},
		"offset far too large":  {edit(file, func(n *nar.Node) { n.NarOffset = 1 << 60 }, nil), true},
		"offset too small":      {edit(file, func(n *nar.Node) { n.NarOffset = 8 }, nil), true},
		"no offset":             {edit(file, func(n *nar.Node) { n.NarOffset = 0 }, nil), true},
		"size too large":        {edit(file, func(n *nar.Node) { n.Size++ }, nil), true},
		"size huge":             {edit(file, func(n *nar.Node) { n.Size = 1 << 61 }, nil), true},
		"size too small":        {edit(file, func(n *nar.Node) { n.Size-- }, nil), true},
		"executable":            {edit(file, func(n *nar.Node) { n.Executable = true }, nil), true},
		"offset of another":     {edit(file, func(n *nar.Node) { n.NarOffset = root.Entries["bin"].Entries["run"].NarOffset }, nil), true},
		"frames of two swapped": {edit(file, nil, func(s *nar.Seek) { s.Frames[3], s.Frames[4] = s.Frames[4], s.Frames[3] }), true},
		"frames cut elsewhere":  {edit(file, nil, func(s *nar.Seek) { s.Frames[3].Compressed++; s.Frames[4].Compressed-- }), true},
		"contents cut elsewhere": {edit(file, nil, func(s *nar.Seek) {
			s.Frames[3].Content += 8
			s.Frames[4].Content -= 8
		}), true},
		"one frame too few":      {edit(file, nil, func(s *nar.Seek) { s.Frames = s.Frames[1:] }), false},
		"frames of another file": {edit(file, nil, func(s *nar.Seek) { s.File = "sha256:x" }), false},
		"no JSON":                {[]byte("<html>"), false},
		"compressed":             {framed(t, right, len(right)), false},
	} {
		cache.relist(t, c.listing)
		got, read, err := cache.cat(t, n, file, false)
		if err != nil || got != contents[file] || (read.Doubt != nil) != c.doubt {
			t.Errorf("%s: %q, %+v, %v", name, got, read, err)
		}
	}
	// It hides a file: then there is none, but for one who reads the NAR.
	cache.relist(t, bytes.Replace(right, []byte(`"small":`), []byte(`"smaxx":`), 1))
	if _, _, err := cache.cat(t, n, file, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a hidden file: %v", err)
	}
	if got, _, err := cache.cat(t, n, file, true); err != nil || got != contents[file] {
		t.Errorf("a hidden file, reading all: %q, %v", got, err)
	}
	if _, _, err := cache.cat(t, n, "lib/smaxx", false); err == nil {
		t.Error("a file that is not there was read")
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

func TestRecord(t *testing.T) {
	cache, _ := newCache(t, compress.None, archive(t))
	const other = "11111111111111111111111111111111"
	if _, err := seek.Record(t.Context(), cache, other, layout.DefaultStoreDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	text, err := layout.ReadAll(t.Context(), cache, layout.NarInfoKey(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Put(t.Context(), layout.NarInfoKeyOf(other), layout.Bytes(text), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := seek.Record(t.Context(), cache, other, layout.DefaultStoreDir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record of another path: %v", err)
	}
}

func TestWalkClosure(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	put := func(i int, refs string) layout.StorePath {
		p := layout.StorePath(fmt.Sprintf("%032d-p", i))
		text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: %d\nFileSize: %d\nReferences: %s\n", p, n.NarHash, i, i*2, refs)
		if err := cache.Put(t.Context(), layout.NarInfoKey(p), layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	name := func(i int) string { return fmt.Sprintf("%032d-p", i) }
	put(4, strings.Join([]string{name(4), name(9)}, " "))
	put(3, name(4))
	put(2, strings.Join([]string{name(3), name(4)}, " "))
	root, err := seek.Record(t.Context(), cache, put(1, strings.Join([]string{name(2), name(3)}, " ")).Hash(), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	c, err := seek.WalkClosure(t.Context(), cache, root, layout.DefaultStoreDir, 3, &seen)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Paths {
		got = append(got, fmt.Sprintf("%s %d %d", p.Path.Hash()[31:], p.NarSize, p.FileSize))
	}
	if diff := cmp.Diff([]string{"1 1 2", "2 2 4", "3 3 6", "4 4 8"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Missing) != 1 || string(c.Missing[0]) != name(9) || seen.Load() != 4 {
		t.Errorf("missing %q, seen %d", c.Missing, seen.Load())
	}
	if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKeyOf(name(3)[:32]))), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := seek.WalkClosure(t.Context(), cache, root, layout.DefaultStoreDir, 3, nil); err == nil {
		t.Error("a record that cannot be read counts as absent")
	}
}

// FuzzListing holds that no listing does harm: what comes out is a part of the NAR.
func FuzzListing(f *testing.F) {
	dir := f.TempDir()
	for name, text := range map[string]string{"a": strings.Repeat("abcdefgh", 100), "b/c": "small", "b/d": strings.Repeat("x", 999)} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "b"), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			f.Fatal(err)
		}
	}
	var data, listing bytes.Buffer
	w := nar.NewListingWriter(&listing)
	p := nar.NewParser(w)
	if err := nar.Dump(context.Background(), io.MultiWriter(&data, p), dir); err != nil {
		f.Fatal(err)
	}
	const size = 512 // less than a writer records, and as good
	file := framed(f, data.Bytes(), size)
	n := &layout.NarInfo{PathInfo: layout.PathInfo{Path: path, NarSize: int64(data.Len()), NarHash: sha256.Sum256(data.Bytes())},
		FileHash: sha256.Sum256(file), FileSize: int64(len(file)), Compression: compress.Zstd}
	n.URL = string(layout.NARKey(n.FileHash, ".zst"))
	w.Seek = &nar.Seek{File: n.FileHash.String()}
	for piece := range slices.Chunk(data.Bytes(), size) {
		w.Seek.Frames = append(w.Seek.Frames, nar.Frame{Compressed: int64(len(framed(f, piece, size))), Content: int64(len(piece))})
	}
	if err := errors.Join(p.Close(), w.Close()); err != nil {
		f.Fatal(err)
	}
	mem := treetest.NewMem(f)
	mem.Damage(layout.Key(n.URL), func([]byte) []byte { return file })
	right := listing.Bytes()
	for _, name := range []string{"a", "b/c", "b/d"} {
		f.Add(right, name)
		f.Add(bytes.Replace(right, []byte(`"size":5`), []byte(`"size":6`), 1), name)
		f.Add(bytes.Replace(right, []byte(`,512]`), []byte(`,511]`), 1), name)
	}
	f.Fuzz(func(t *testing.T, listing []byte, name string) {
		mem.Damage(layout.ListingKey(path), func([]byte) []byte { return listing })
		a, err := seek.Open(t.Context(), mem, n)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		read, err := a.WriteFile(t.Context(), &out, name)
		if err == nil && !bytes.Contains(data.Bytes(), out.Bytes()) {
			t.Errorf("%q: %d bytes that are not in the NAR", name, out.Len())
		}
		if bytes.Equal(listing, right) && (err != nil || !read.Parts) && (name == "a" || name == "b/c") {
			t.Errorf("%q: %+v, %v", name, read, err)
		}
	})
}

// An index tells the names of the paths that are there; those that it does not know are
// read, and those that have gone are left out.
func TestPaths(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	name := func(i int) layout.StorePath { return layout.StorePath(fmt.Sprintf("%032d-p%d", i, i)) }
	put := func(i int, text string) {
		if text == "" {
			text = fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: 1\n", name(i), n.NarHash)
		}
		if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKey(name(i)))), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{1, 2, 3, 5, 8} {
		put(i, "")
	}
	every := func(string, string) bool { return true }
	index := func(end error, of ...int) func(func(seek.Part, error) bool) {
		return func(yield func(seek.Part, error) bool) {
			for _, i := range of {
				if !yield(seek.Part{Hashes: []byte(name(i).Hash()), Paths: []layout.StorePath{name(i)}}, nil) {
					return
				}
			}
			if end != nil {
				yield(seek.Part{}, end)
			}
		}
	}
	want := []layout.StorePath{path, name(1), name(2), name(3), name(5), name(8)}
	for what, index := range map[string]func(func(seek.Part, error) bool){
		"none": nil, "empty": index(nil), "all": index(nil, 1, 2, 3, 5, 8), "old": index(nil, 1, 4, 5, 9), "broken": index(errFull, 1, 2), "out of order": index(nil, 1, 5, 3, 2), "twice": index(nil, 2, 2),
	} {
		var got []layout.StorePath
		for p, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			got = append(got, p)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			break
		}
	}
	// An index of no hashes, or one that is cut off, tells nothing.
	for _, hashes := range []string{"E", "0", strings.Repeat("e", 32), strings.Repeat("z", 40)} {
		n := 0
		wrong := func(yield func(seek.Part, error) bool) { yield(seek.Part{Hashes: []byte(hashes)}, nil) }
		for range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, wrong) {
			n++
		}
		if n != len(want) {
			t.Errorf("with the index %q: %d paths", hashes, n)
		}
	}
	put(3, "garbage")
	bad, good := 0, 0
	for _, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, nil) {
		if errors.As(err, new(*seek.BadRecord)) {
			bad++
		} else if err == nil {
			good++
		}
	}
	if bad != 1 || good != len(want)-1 {
		t.Errorf("with a bad record: %d bad, %d good", bad, good)
	}
	for _, err := range seek.Paths(t.Context(), notListed{cache.Dir}, layout.DefaultStoreDir, 2, every, nil) {
		if !errors.Is(err, layout.ErrNotListable) {
			t.Errorf("a cache that cannot be listed: %v", err)
		}
	}
}

// Each path that is there is told of once, whether index and tree are alike or not.
func TestPathsOfManyIndexes(t *testing.T) {
	cache, n := newCache(t, compress.None, archive(t))
	rng := rand.New(rand.NewPCG(5, 6))
	every := func(string, string) bool { return true }
	var all, want []layout.StorePath
	for i := range 400 {
		// Few places, so that several have more than one path.
		p := layout.StorePath(fmt.Sprintf("00%c%029d-p%d", layout.Nix32Digits[rng.IntN(32)], i, i))
		all = append(all, p)
		if rng.IntN(3) > 0 {
			want = append(want, p)
			text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x.nar\nNarHash: %s\nNarSize: 1\n", p, n.NarHash)
			if err := os.WriteFile(filepath.Join(layout.TraitsOf(cache.Dir).Path, string(layout.NarInfoKey(p))), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	indexes := [][]layout.StorePath{want, all, nil}
	for _, one := range []int{0, len(want) / 2, len(want) - 1} { // all but one
		indexes = append(indexes, slices.Delete(slices.Clone(want), one, one+1))
	}
	for range 20 {
		indexes = append(indexes, slices.DeleteFunc(slices.Clone(all), func(layout.StorePath) bool { return rng.IntN(2) == 0 }))
	}
	want = append(want, path)
	slices.Sort(want)
	for i, known := range indexes {
		index := func(yield func(seek.Part, error) bool) {
			for some := range slices.Chunk(known, 70) {
				part := seek.Part{Paths: some}
				for _, p := range some {
					part.Hashes = append(part.Hashes, p.Hash()...)
				}
				if !yield(part, nil) {
					return
				}
			}
		}
		var got []layout.StorePath
		for p, err := range seek.Paths(t.Context(), cache, layout.DefaultStoreDir, 2, every, index) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("index %d (-want +got):\n%s", i, diff)
		}
	}
}

type notListed struct{ layout.Reader }

// A listing that cannot have a name is not looked into; any other is, and what is not one says so.
func TestListingWithPart(t *testing.T) {
	cache, _ := newCache(t, compress.None, archive(t))
	for _, test := range []struct {
		listing, part  string
		parsed, broken bool
	}{
		{`{"root":{"entries":{"one":{"narOffset":1,"size":2,"type":"regular"}},"type":"directory"},"version":1}`, "one", true, false},
		{`{"root":{"entries":{"one":{"narOffset":1,"size":2,"type":"regular"}},"type":"directory"},"version":1}`, "two", false, false},
		{`{"root":{"entries":{"one":{"narOffset":1,"size":2,"type":"regular"}},"type":"directory"},"version":1}`, "", true, false},
		{`{"root":{"entries":{"\u006fne":{"narOffset":1,"size":2,"type":"regular"}},"type":"directory"},"version":1}`, "one", true, false},
		{"{\"root\":{\"entries\":{\"\xff\":{\"narOffset\":1,\"size\":2,\"type\":\"regular\"}},\"type\":\"directory\"},\"version\":1}", "\ufffd", true, false},
		{`{"root":{"entries":{"one":{"narOffset":1,"size":2,"type":"reg`, "two", false, true},
		{`{}`, "two", false, true},
	} {
		cache.relist(t, []byte(test.listing))
		root, err := seek.Listing(t.Context(), cache, path, test.part)
		if broken := errors.As(err, new(*seek.BadListing)); broken != test.broken || !broken && err != nil || (root != nil) != test.parsed {
			t.Errorf("%q in %s: %v, %v", test.part, test.listing, root, err)
		}
	}
}

package seek_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/seek"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

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

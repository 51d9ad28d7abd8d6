package nar

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Stores hold a few large files, and many small ones.
var benchKinds = []string{"big", "small"}

func benchTree(b *testing.B, kind string) string {
	dir := b.TempDir()
	body := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(body)
	if kind == "big" {
		big := filepath.Join(dir, "big")
		if err := os.WriteFile(big, body, 0o644); err != nil {
			b.Fatal(err)
		}
		return big
	}
	for i := range 4000 {
		sub := filepath.Join(dir, fmt.Sprint("dir", i%40))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("file", i)), body[:i*4], 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func benchNAR(b *testing.B, kind string) []byte {
	var nar bytes.Buffer
	if err := Dump(b.Context(), &nar, benchTree(b, kind)); err != nil {
		b.Fatal(err)
	}
	return nar.Bytes()
}

func BenchmarkDump(b *testing.B) {
	for _, kind := range benchKinds {
		b.Run(kind, func(b *testing.B) {
			path, size := benchTree(b, kind), &counter{}
			if err := Dump(b.Context(), size, path); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size.n)
			b.ReportAllocs()
			for b.Loop() {
				if err := Dump(b.Context(), io.Discard, path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// benchParse pushes NARs in pieces of the size that Dump writes.
func benchParse(b *testing.B, visitor func() Visitor) {
	for _, kind := range benchKinds {
		b.Run(kind, func(b *testing.B) {
			nar := benchNAR(b, kind)
			b.SetBytes(int64(len(nar)))
			b.ReportAllocs()
			for b.Loop() {
				if err := parse(nar, len(space{}.out), visitor()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParser(b *testing.B) {
	benchParse(b, func() Visitor { return Discard{} })
}

func BenchmarkListing(b *testing.B) {
	b.Run("write", func(b *testing.B) {
		benchParse(b, func() Visitor { return NewListingWriter(io.Discard) })
	})
	b.Run("build", func(b *testing.B) {
		benchParse(b, func() Visitor { return new(builder) })
	})
	b.Run("parse", func(b *testing.B) {
		var ls bytes.Buffer
		w := NewListingWriter(&ls)
		if err := parse(benchNAR(b, "small"), 0, w); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(ls.Len()))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseListing(bytes.NewReader(ls.Bytes()), 1<<30); err != nil {
				b.Fatal(err)
			}
		}
	})
}

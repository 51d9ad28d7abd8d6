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

// benchTrees are what stores hold: a few large files, and many small ones.
func benchTrees(b *testing.B) map[string]string {
	big := filepath.Join(b.TempDir(), "big")
	body := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(body)
	if err := os.WriteFile(big, body, 0o644); err != nil {
		b.Fatal(err)
	}
	small := b.TempDir()
	for i := range 4000 {
		dir := filepath.Join(small, fmt.Sprint("dir", i%40))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), body[:i*4], 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return map[string]string{"big": big, "small": small}
}

func benchNARs(b *testing.B) map[string][]byte {
	out := map[string][]byte{}
	for name, path := range benchTrees(b) {
		var nar bytes.Buffer
		if err := Dump(b.Context(), &nar, path); err != nil {
			b.Fatal(err)
		}
		out[name] = nar.Bytes()
	}
	return out
}

func BenchmarkDump(b *testing.B) {
	sizes := benchNARs(b)
	for name, path := range benchTrees(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(sizes[name])))
			b.ReportAllocs()
			for b.Loop() {
				if err := Dump(b.Context(), io.Discard, path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchParse pushes each NAR in pieces of the size that Dump writes.
func benchParse(b *testing.B, visitor func() Visitor) {
	for name, nar := range benchNARs(b) {
		b.Run(name, func(b *testing.B) {
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
		benchParse(b, func() Visitor { return new(Builder) })
	})
	b.Run("parse", func(b *testing.B) {
		var ls bytes.Buffer
		w := NewListingWriter(&ls)
		if err := parse(benchNARs(b)["small"], 0, w); err != nil {
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

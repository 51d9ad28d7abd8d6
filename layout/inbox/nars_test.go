package inbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
)

func TestRefusedNARs(t *testing.T) {
	s := newSample(t)
	plain := string(s.paths.Named("app").NAR)
	zst := s.objects[s.nar(t, "app")]
	named := func(body, ext string) layout.Key { return layout.NARKey(sha256.Sum256([]byte(body)), ext) }
	var skippable [1 << 10]byte
	copy(skippable[:], "\x50\x2a\x4d\x18\xff\xff\xff\xff")
	zeros := gzipped(t, "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00"+strings.Repeat("\x00", 1<<20))
	tests := []struct {
		name string
		body string
		ext  string
		want Reason
	}{
		{"cut off", zst[:len(zst)-1], ".zst", BadCompression},
		{"cut off early", zst[:3], ".zst", BadCompression},
		{"followed by something", zst + "x", ".zst", BadCompression},
		{"a skippable frame that never ends", string(skippable[:]), ".zst", BadCompression},
		{"named for xz", zst, ".xz", BadCompression},
		{"named for none", zst, "", BadCompression},
		{"named for br", zst, ".br", BadCompression},
		{"named for bzip2", zst, ".bz2", BadCompression},
		{"named for lz4", zst, ".lz4", BadCompression},
		{"a web page", "<html>", ".zst", BadCompression},
		{"plain and cut off", plain[:len(plain)-8], "", BadNAR},
		{"plain and cut off in the magic", plain[:5], "", BadNAR},
		{"plain and followed by zeros", plain + strings.Repeat("\x00", 8), "", BadNAR},
		{"gzip and followed", gzipped(t, plain) + "x", "", BadCompression},
		{"gzip of something else", gzipped(t, "hello"), "", BadNAR},
		{"gzip of nothing", gzipped(t, ""), "", BadNAR},
		{"zeros", zeros, "", BadNAR},
	}
	tr := newTrial(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tr.refused(named(tt.body, tt.ext), tt.body, true, tt.want) })
	}
	tr.refused(named(plain, ".zst"), zst, true, BadFile)

	small := newTrial(t, func(c *Config) { c.MaxNarSize = int64(len(plain)) - 1 })
	small.refused(s.nar(t, "app"), zst, true, NARTooLarge)
	exact := newTrial(t, func(c *Config) { c.MaxNarSize, c.MaxFile = int64(len(plain)), int64(len(zst)) })
	exact.must(s.nar(t, "app"), zst, true, Created)
	short := newTrial(t, func(c *Config) { c.MaxFile = int64(len(zst)) - 1 })
	_, err := short.Put(t.Context(), s.nar(t, "app"), strings.NewReader(zst), Options{Size: -1})
	if reasonOf(err) != TooLarge {
		t.Errorf("a body of unknown size beyond the limit: %v", err)
	}
}

// A bomb: what decompresses to far more than it is, is given up at the limit.
func TestBomb(t *testing.T) {
	var file bytes.Buffer
	z, err := gzip.NewWriterLevel(&file, 9)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(64 << 20)
	head := "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00" + narString("(") + narString("type") + narString("regular") + narString("contents") +
		string([]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24), 0, 0, 0, 0})
	io.WriteString(z, head)
	for range size >> 20 {
		z.Write(make([]byte, 1<<20))
	}
	io.WriteString(z, narString(")"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, func(c *Config) { c.MaxNarSize = 1 << 20 })
	tr.refused(layout.NARKey(sha256.Sum256(file.Bytes()), ""), file.String(), true, NARTooLarge)
}

func narString(s string) string {
	return string([]byte{byte(len(s)), 0, 0, 0, 0, 0, 0, 0}) + s + strings.Repeat("\x00", (8-len(s)%8)%8)
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every compression, by the names that Nix gives it.
func TestCompressions(t *testing.T) {
	s := newSample(t)
	p := s.paths.Named("app")
	pool := compress.NewPool(1)
	defer pool.Close()
	for _, m := range compress.Writable() {
		t.Run(string(m), func(t *testing.T) {
			var file bytes.Buffer
			z, err := pool.NewWriter(t.Context(), &file, m, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(p.NAR); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			tr := newTrial(t, func(c *Config) {
				c.Provided = func(_ context.Context, p layout.StorePath) (bool, error) { return true, nil }
			})
			tr.mem.Provided = func(layout.StorePath) bool { return true }
			n := s.narInfo(t, "app")
			n.FileHash, n.FileSize = sha256.Sum256(file.Bytes()), int64(file.Len())
			key := layout.NARKey(n.FileHash, m.Extension())
			n.URL, n.Compression = string(key), m
			tr.must(key, file.String(), true, Created)
			tr.must(layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)), true, Created)
			if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true, Provided: tr.cfg.Provided}); err != nil {
				t.Error(err)
			}
		})
	}
}

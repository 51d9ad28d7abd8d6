//go:build real

package compress

import (
	"bytes"
	"os/exec"
	"testing"
)

// run pipes in through a program, which has to be there.
func run(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install xz-utils, zstd, gzip, bzip2, brotli and lz4", err)
	}
	cmd := exec.Command(path, args...)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, &complaint)
	}
	return out
}

// The programs everyone has read what we write.
func TestProgramsRead(t *testing.T) {
	p := testPool(t, 2)
	program := map[Method]string{Zstd: "zstd", Xz: "xz", Gzip: "gzip", Bzip2: "bzip2", Brotli: "brotli"}
	for _, size := range []int{0, 1, 7 * testFrame / 2} {
		data := sample(size, 21)
		for m, name := range program {
			if got := run(t, compressed(t, p, m, 0, data), name, "-d", "-c"); !bytes.Equal(got, data) {
				t.Errorf("%s of %d bytes: %s reads %d", m, size, name, len(got))
			}
		}
		t.Run("without xz", func(t *testing.T) {
			program := xzProgram()
			t.Setenv("PATH", "")
			file := compressed(t, p, Xz, 0, data)
			if got := run(t, file, program, "-d", "-c"); !bytes.Equal(got, data) {
				t.Errorf("xz of %d bytes from the encoder in Go: %s reads %d", size, program, len(got))
			}
		})
	}
}

// We read what they write.
func TestProgramsWrite(t *testing.T) {
	data := sample(3*testFrame, 22)
	for _, c := range []struct {
		m       Method
		command []string
	}{
		{Zstd, []string{"zstd", "-c"}},
		{Zstd, []string{"zstd", "-c", "-19", "--long=27"}},
		{Zstd, []string{"zstd", "-c", "--no-check"}},
		{Zstd, []string{"zstd", "-c", "-T2", "-1"}},
		{Xz, []string{"xz", "-c"}},
		{Xz, []string{"xz", "-c", "-0", "--check=none"}},
		{Xz, []string{"xz", "-c", "--check=crc32", "--block-size=100000"}},
		{Xz, []string{"xz", "-c", "--check=sha256", "-T2", "--block-size=100000"}},
		{Xz, []string{"xz", "-c", "--x86", "--lzma2=dict=64MiB"}},
		{Gzip, []string{"gzip", "-c"}},
		{Gzip, []string{"gzip", "-c", "-1"}},
		{Bzip2, []string{"bzip2", "-c"}},
		{Bzip2, []string{"bzip2", "-c", "-1"}},
		{Brotli, []string{"brotli", "-c", "-q", "5"}},
		{Brotli, []string{"brotli", "-c", "-q", "11", "--lgwin=24"}},
		{Lz4, []string{"lz4", "-c"}},
		{Lz4, []string{"lz4", "-c", "-9", "-BD"}},
	} {
		file := run(t, data, c.command[0], c.command[1:]...)
		if got, err := decompressed(c.m, file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: read %d bytes, %v", c.command, len(got), err)
		}
	}
	long := run(t, data, "zstd", "-c", "-1", "--long=28")
	refused(t, Zstd, long, "window of 256 MiB")
}

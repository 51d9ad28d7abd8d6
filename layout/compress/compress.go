// Package compress turns NARs into the compressed files of a binary cache and back.
//
// A [Method] is the value of the Compression field of a narinfo. A [Pool] writes: it cuts a
// stream into frames that are complete files of their format, compresses them on all cores and
// writes them in order. Every format here but brotli defines the concatenation of such files as
// the concatenation of their contents, and every Nix reads them so. [NewReader] reads, and takes
// for whole only what every Nix takes for whole.
//
// The output of a Pool depends on the bytes, the method, the level and the versions of the
// libraries (or of the xz program) alone: not on how the bytes arrive, and not on the number of
// cores. Two machines that push the same path therefore name its file alike. The one exception is a
// pool with more large streams open than it has frame buffers; see [Pool].
//
// The package imports nothing of this project.
package compress

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Method is how a NAR file is compressed: the value of Compression in its narinfo.
type Method string

// The methods known here.
const (
	None   Method = "none"
	Zstd   Method = "zstd"
	Xz     Method = "xz"
	Gzip   Method = "gzip"
	Bzip2  Method = "bzip2"
	Brotli Method = "br"
	Lz4    Method = "lz4" // read only
)

// Unread are the methods that Nix knows beside, and that no cache is known to use. A file of such
// a method can be copied and not looked into: [NewReader] fails.
var Unread = []Method{"compress", "grzip", "lrzip", "lzip", "lzma", "lzop"}

// traits is what is fixed about a method.
type traits struct {
	method Method
	ext    string // after ".nar"
	// Levels run from 1 to max; 0 max means that the method has none. Zero is the default,
	// except that a method that is not written has no default either.
	max, byDefault int
	writable       bool
}

var methods = []traits{
	{method: Zstd, ext: ".zst", max: 22, byDefault: 3, writable: true},
	{method: Xz, ext: ".xz", max: 9, byDefault: 6, writable: true},
	{method: Gzip, ext: "", max: 9, byDefault: 6, writable: true},
	{method: Bzip2, ext: ".bz2", max: 9, byDefault: 9, writable: true},
	{method: Brotli, ext: ".br", max: 11, byDefault: 5, writable: true},
	{method: None, ext: "", writable: true},
	{method: Lz4, ext: ".lz4"},
}

func (m Method) traits() (traits, error) {
	i := slices.IndexFunc(methods, func(t traits) bool { return t.method == m })
	if i < 0 {
		names := make([]string, len(methods))
		for i, t := range methods {
			names[i] = string(t.method)
		}
		return traits{}, fmt.Errorf("unknown compression %q: known are %s", string(m), strings.Join(names, ", "))
	}
	return methods[i], nil
}

// Parse reads the Compression field of a narinfo. An absent or empty field means bzip2, as it
// did before the field existed. Names are matched exactly, as Nix does: "brotli" and "XZ" are
// errors, and so is a name that Nix knows and we cannot read.
func Parse(field string) (Method, error) {
	if field == "" {
		return Bzip2, nil
	}
	t, err := Method(field).traits()
	return t.method, err
}

// Extension is what Nix puts after ".nar" in the name of a file: ".xz", ".zst" and so on, and
// nothing for gzip and none. It is for naming files; a file's method is known from its narinfo
// only.
func (m Method) Extension() string {
	t, _ := m.traits()
	return t.ext
}

// Guess tells how a file is compressed by what follows ".nar" in its name, and where that leaves it
// open, by how it begins. It is right about the files of Nix; a narinfo knows better. A file that
// is not recognised counts as not compressed.
func Guess(ext string, head []byte) Method {
	for _, t := range methods {
		if ext != "" && t.ext == ext {
			return t.method
		}
	}
	for _, m := range []struct {
		method Method
		magic  string
	}{
		{Zstd, "\x28\xb5\x2f\xfd"}, {Xz, "\xfd7zXZ\x00"}, {Gzip, "\x1f\x8b"}, {Bzip2, "BZh"}, {Lz4, "\x04\x22\x4d\x18"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.method
		}
	}
	return None
}

// Writable reports whether a [Pool] can write m.
func (m Method) Writable() bool {
	t, _ := m.traits()
	return t.writable
}

// Writable lists the methods that a [Pool] can write, the recommended one first.
func Writable() []Method {
	var list []Method
	for _, t := range methods {
		if t.writable {
			list = append(list, t.method)
		}
	}
	return list
}

// CheckLevel reports whether m can be written at this level. Level 0 is the default of the method
// and always right for one that can be written.
//
// The levels are those of Nix's compression-level, with these meanings:
//
//   - zstd 1 to 22, default 3. The encoder has four strengths: 1-2, 3-5, 6-9 and 10-22 are each
//     one and the same. The last compresses about like the zstd program at 11; nothing here
//     reaches 19.
//   - xz 1 to 9, default 6. A dictionary is never larger than a frame (24 MiB), which makes
//     8 and 9 the same.
//   - gzip 1 to 9, default 6; bzip2 1 to 9, default 9.
//   - br 1 to 11, default 5. (Nix takes no level for br and always writes 11, at 1 MB/s or less.)
//   - none has no levels.
func (m Method) CheckLevel(level int) error {
	t, err := m.traits()
	switch {
	case err != nil:
		return err
	case !t.writable:
		return fmt.Errorf("compression %s can be read but not written", m)
	case level == 0 || level >= 1 && level <= t.max:
		return nil
	case t.max == 0:
		return fmt.Errorf("compression level %d: %s has no levels", level, m)
	}
	return fmt.Errorf("compression level %d: %s has levels 1 to %d, and 0 for its default, %d", level, m, t.max, t.byDefault)
}

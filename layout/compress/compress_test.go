package compress

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for field, want := range map[string]Method{
		"": Bzip2, "none": None, "zstd": Zstd, "xz": Xz, "gzip": Gzip, "bzip2": Bzip2, "br": Brotli, "lz4": Lz4,
	} {
		if got, err := Parse(field); err != nil || got != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", field, got, err, want)
		}
	}
	for _, field := range []string{"brotli", "identity", "XZ", "zst", " xz", "lzma", "lzip", "compress"} {
		got, err := Parse(field)
		if err == nil || got != "" {
			t.Errorf("Parse(%q) = %q, %v; want an error", field, got, err)
			continue
		}
		for _, known := range []string{field, "zstd", "xz", "gzip", "bzip2", "br", "none", "lz4"} {
			if !strings.Contains(err.Error(), known) {
				t.Errorf("Parse(%q): %q does not name %q", field, err, known)
			}
		}
	}
}

// The extensions are Nix's, which has one for some of its methods only.
func TestExtension(t *testing.T) {
	got := map[Method]string{}
	for _, m := range append(Writable(), Lz4) {
		got[m] = m.Extension()
	}
	want := map[Method]string{None: "", Zstd: ".zst", Xz: ".xz", Gzip: "", Bzip2: ".bz2", Brotli: ".br", Lz4: ".lz4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWritable(t *testing.T) {
	want := []Method{Zstd, Xz, Gzip, Bzip2, Brotli, None}
	if d := cmp.Diff(want, Writable()); d != "" {
		t.Error(d)
	}
	for _, m := range want {
		if !m.Writable() {
			t.Errorf("%s is not writable", m)
		}
	}
	for _, m := range []Method{Lz4, "", "lzma"} {
		if m.Writable() {
			t.Errorf("%q is writable", m)
		}
	}
}

func TestCheckLevel(t *testing.T) {
	good := map[Method][]int{Zstd: {0, 1, 19, 22}, Xz: {0, 1, 9}, Gzip: {0, 9}, Bzip2: {0, 1, 9}, Brotli: {0, 11}, None: {0}}
	bad := map[Method][]int{Zstd: {-1, 23}, Xz: {-1, 10}, Gzip: {10}, Bzip2: {10}, Brotli: {12}, None: {1, -1}, Lz4: {0, 1}, "x": {0}}
	for m, levels := range good {
		for _, level := range levels {
			if err := m.CheckLevel(level); err != nil {
				t.Errorf("%s: %v", m, err)
			}
		}
	}
	for m, levels := range bad {
		for _, level := range levels {
			if err := m.CheckLevel(level); err == nil {
				t.Errorf("%s has level %d", m, level)
			}
		}
	}
	if err := Xz.CheckLevel(10); err == nil || !strings.Contains(err.Error(), "1 to 9") {
		t.Errorf("%v does not say the range", err)
	}
}

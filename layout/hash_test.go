package layout_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// The SHA-256 of nothing, in every spelling that Nix reads.
const (
	emptyNix32  = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
	emptyHex    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	emptyBase64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
)

func TestParseHash(t *testing.T) {
	empty := layout.Hash(sha256.Sum256(nil))
	for _, text := range []string{"sha256:" + emptyNix32, "sha256:" + emptyHex, "sha256:" + emptyBase64, "sha256-" + emptyBase64} {
		h, err := layout.ParseHash(text)
		if err != nil || h != empty {
			t.Errorf("ParseHash(%q) = %s, %v", text, h, err)
		}
	}
	if got := empty.String(); got != "sha256:"+emptyNix32 {
		t.Errorf("String = %s", got)
	}
	if empty.IsZero() || !(layout.Hash{}).IsZero() {
		t.Error("IsZero is not about all bytes being zero")
	}
	for _, text := range []string{
		"", "sha256:", "sha256-", emptyNix32, emptyHex,
		"sha512:" + emptyHex, "md5:d41d8cd98f00b204e9800998ecf8427e", "SHA256:" + emptyNix32,
		"sha256:" + emptyNix32[1:], "sha256:0" + emptyNix32, "sha256:" + strings.Replace(emptyNix32, "a", "e", 1),
		"sha256:z" + emptyNix32[1:], // more than 256 bits
		"sha256:" + emptyNix32 + "\n", " sha256:" + emptyNix32, "sha256: " + emptyNix32,
		"sha256:" + emptyNix32[:44], "sha256-" + emptyNix32[:44], // base64 of 33 bytes
		"sha256:" + emptyBase64[:43], "sha256:" + strings.Repeat("0", 1000),
	} {
		if h, err := layout.ParseHash(text); err == nil {
			t.Errorf("ParseHash(%.80q) = %s", text, h)
		}
	}
}

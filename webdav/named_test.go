package webdav

import (
	"strings"
	"testing"
)

func TestNameURL(t *testing.T) {
	hash := strings.Repeat("0", 32)
	for text, want := range map[string]string{
		"StorePath: x\nURL: nar/a.nar.xz\nCompression: xz\n":     "StorePath: x\nURL: nar/a.nar.xz?of=" + hash + "\nCompression: xz\n",
		"StorePath: x\nURL: nar/a.nar.xz\r\nCompression: xz\r\n": "StorePath: x\nURL: nar/a.nar.xz?of=" + hash + "\r\nCompression: xz\r\n",
		"StorePath: x\nURL: nar/a.nar?x=1\n":                     "",
		"StorePath: x\nURL: https://example.org/nar/a.nar\n":     "",
		"StorePath: x\nURL: ../nar/a.nar\n":                      "",
		"StorePath: x\nURL: nar/a.na":                            "",
		"StorePath: x\n":                                         "",
		"":                                                       "",
	} {
		if want == "" {
			want = text
		}
		if got := string(nameURL([]byte(text), hash)); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

//go:build real

package nar

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// sameAsNix dumps path with Nix and with Dump, and returns the NAR if it is one.
func sameAsNix(t *testing.T, path string) []byte {
	t.Helper()
	var got bytes.Buffer
	if err := Dump(t.Context(), &got, path); err != nil {
		t.Fatal(err)
	}
	if want := nixDump(t, path); !bytes.Equal(got.Bytes(), want) {
		i := 0
		for i < len(want) && i < got.Len() && want[i] == got.Bytes()[i] {
			i++
		}
		t.Fatalf("dump of %s differs from Nix's at byte %d: %d bytes, want %d", path, i, got.Len(), len(want))
	}
	again, err := reencode(t, got.Bytes(), 0)
	if err != nil || !bytes.Equal(again, got.Bytes()) {
		t.Fatalf("parser does not give back the dump of %s: %v", path, err)
	}
	return got.Bytes()
}

func TestDumpLikeNix(t *testing.T) {
	big := make([]byte, 1<<20+3)
	rand.NewChaCha8([32]byte{}).Read(big)
	root := write(t, append(kinds(false), regularFile("big", string(big)),
		file{"exec", TypeRegular, 0o755, "#!", ""},
		dirs(strings.Repeat("deep/", 300)), regularFile(strings.Repeat("deep/", 300)+"x", "down here")))

	for _, name := range []string{"", "a", "empty file", "exec", "big", "link", "dangling", "to dir", "empty", "mode 011"} {
		t.Run(name, func(t *testing.T) { sameAsNix(t, filepath.Join(root, name)) })
	}
	t.Run("root link with a slash", func(t *testing.T) {
		var got bytes.Buffer
		if err := Dump(t.Context(), &got, root+"/to dir/"); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), nixDump(t, root+"/to dir")) {
			t.Error("link at the root was followed")
		}
	})
	t.Run("relative", func(t *testing.T) {
		t.Chdir(root)
		for _, path := range []string{".", "a", "./a", "a.d/../a"} {
			sameAsNix(t, path)
		}
	})
}

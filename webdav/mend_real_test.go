//go:build real

package webdav

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Any Nix that pushes a damaged path again with the same compression mends it, at a URL
// of its own and at one that readers share. If the server learns of the damage only by
// reading the NAR, it refuses the first push with a reason, and the second mends.
func TestNixMends(t *testing.T) {
	root, path := bigPath(t, 100<<10)
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	gone := func([]byte) []byte { return nil }
	for name, damage := range map[string]struct {
		narinfo, nar func([]byte) []byte
		refused      bool // the first push
	}{
		"NAR flipped, no narinfo": {gone, flip, true},
		"NAR cut, no narinfo":     {gone, cut, true},
		"NAR cut":                 {nil, cut, false},
		"NAR gone":                {nil, gone, false},
		"narinfo cut":             {cut, nil, false},
	} {
		for _, prefix := range []string{"/upload/", "/"} {
			for _, nix := range peers.Nixes(t) {
				t.Run(name+prefix+nix.Version, func(t *testing.T) {
					edit := func(c *Config, _ *inbox.Config) { c.UploadPrefix = prefix }
					r := newRig(t, edit)
					push := func() (string, error) {
						return copyTo(t, nix, root, r.URL+strings.TrimSuffix(prefix, "/")+"?compression=xz", "", path)
					}
					if out, err := push(); err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
					for pattern, edit := range map[string]func([]byte) []byte{"*.narinfo": damage.narinfo, "nar/*": damage.nar} {
						if edit == nil {
							continue
						}
						files, err := filepath.Glob(filepath.Join(r.dir, pattern))
						if err != nil || len(files) != 1 {
							t.Fatal(files, err)
						}
						text, err := os.ReadFile(files[0])
						if err == nil {
							if text = edit(text); text == nil {
								err = os.Remove(files[0])
							} else {
								err = os.WriteFile(files[0], text, 0o644)
							}
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					r = rigOn(t, r.dir, edit)
					out, err := push()
					if damage.refused != (err != nil) || damage.refused && !strings.Contains(out, "is damaged in this cache; send it again") {
						t.Errorf("the first push: %v\n%s", err, out)
					}
					if out, err := push(); err != nil {
						t.Errorf("the second push: %v\n%s", err, out)
					}
					r.whole(t)
				})
			}
		}
	}
}

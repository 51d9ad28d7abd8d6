//go:build real

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestReadme runs the blocks of README.md and of the page about keys that work on a
// cache in a directory, in their order, as they stand there.
func TestReadme(t *testing.T) {
	dir, store := t.TempDir(), peers.Closure(t)
	p := newest(t)
	if err := os.Symlink(store.Named(t, "libgcc-s1-"), filepath.Join(dir, "result")); err != nil {
		t.Fatal(err)
	}
	server := freeAddress(t)
	blocks := 0
	for _, name := range []string{"README.md", "docs/key-rotation.md"} {
		text, err := os.ReadFile(nixtest.Source(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			block := m[1]
			// These need the network, root, a bucket, a registry or a Nix that is set up; tests/script,
			// tests/serve, tests/corpus and tests/client run the like.
			if regexp.MustCompile(`git clone|s3://|gitea\+https://|nixstatic use|nix copy`).MatchString(block) {
				continue
			}
			blocks++
			// A server ends with the block.
			block = regexp.MustCompile(`(?m)^nixstatic serve (.*)$`).ReplaceAllString(block,
				"nixstatic serve $1 --listen "+server+" & sleep 1; curl -sf http://"+server+"/nix-cache-info; kill $$!; wait $$!")
			block = strings.ReplaceAll(block, "/srv/nix-cache", dir+"/srv")
			cmd := exec.CommandContext(t.Context(), "bash", "-euxc", block)
			cmd.Dir = dir
			cmd.Env = append(p.Environ(t), "PATH="+filepath.Dir(nixtest.Binary(t))+":"+filepath.Dir(p.Nix.Bin("nix"))+":"+os.Getenv("PATH"), "NIX_REMOTE=local?root="+store.Root, "HOME="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:\n%s%v\n%s", name, block, err, out)
			}
		}
	}
	if blocks < 5 {
		t.Errorf("only %d blocks were run", blocks)
	}
}

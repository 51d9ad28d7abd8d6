// Command prune writes a tree in which there is much to prune: the shape of a large
// cache without its weight.
//
//	prune TREE FROM TO OLD
//
// adds the paths FROM to TO-1, each with a narinfo, a listing and a NAR of one byte, and
// ten references to paths with smaller numbers. Nothing refers to one path in twenty,
// which is 40 days old, nor to a path with a number of OLD or more. The same numbers
// give the same tree.
package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"golang.org/x/sync/errgroup"
)

const references = 10

var then = time.Now().Add(-40 * 24 * time.Hour)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "prune: error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: prune TREE FROM TO OLD")
	}
	tree := args[0]
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i+1]); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(tree, "nar"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		return err
	}
	var g errgroup.Group
	const workers = 4
	for w := range workers {
		g.Go(func() error {
			for i := n[0] + w; i < n[1]; i += workers {
				if err := write(tree, i, n[2]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// name is the store path of a number.
func name(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "path %d", i))
	return nixbase32.EncodeToString(sum[:20]) + "-path"
}

// loose reports whether nothing refers to a path.
func loose(i, old int) bool { return i%20 == 19 || i >= old }

func write(tree string, i, old int) error {
	random := rand.New(rand.NewPCG(uint64(i), 0))
	refs := ""
	for n := 0; i > 0 && n < references; n++ {
		ref := random.IntN(i)
		for loose(ref, old) {
			ref = random.IntN(min(i, old))
		}
		refs += name(ref) + " "
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "nar %d", i))
	hash := nixbase32.EncodeToString(sum[:])
	text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/%s.nar\nCompression: none\nFileHash: sha256:%s\nFileSize: 1\nNarHash: sha256:%s\nNarSize: 1\nReferences: %s\n",
		name(i), hash, hash, hash, strings.TrimSuffix(refs, " "))
	stem := filepath.Join(tree, name(i)[:32])
	for file, text := range map[string]string{
		filepath.Join(tree, "nar", hash+".nar"): "x",
		stem + ".ls":                            `{"root":{"size":1,"type":"regular"},"version":1}`,
		stem + ".narinfo":                       text,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		if i%20 == 19 {
			if err := os.Chtimes(file, then, then); err != nil {
				return err
			}
		}
	}
	return nil
}

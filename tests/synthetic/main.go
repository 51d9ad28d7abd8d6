// Command synthetic writes a store of many small paths: the shape of a big cache
// without its weight.
//
//	synthetic STOREDIR N
//
// puts N paths into the directory STOREDIR, and prints what nix-store --load-db
// reads, referenced paths first. Each path is a file or a directory of a few,
// 100 to 2000 bytes in all, with up to eight references to earlier paths. Paths
// nothing refers to are gathered under a few set paths and those under one top
// path, which is printed last. The same N gives the same store, byte for byte.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"
)

const (
	workers    = 4   // each waits for the disk most of the time
	perSet     = 200 // references of one set path
	maxRefs    = 8
	minContent = 100
	maxContent = 2000
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "synthetic: error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: synthetic STOREDIR N")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 {
		return fmt.Errorf("parse number of paths %q: not a positive number", args[1])
	}
	paths := plan(n)
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			for i := w; i < len(paths); i += workers {
				if err := paths[i].write(args[0]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	for _, p := range paths {
		p.register(out)
	}
	return out.Flush()
}

// register writes the form that nix-store --load-db reads: path, NAR hash, NAR
// size, deriver, number of references, references.
func (p *path) register(w io.Writer) {
	fmt.Fprintf(w, "/nix/store/%s\n%s\n%d\n", p.name, hex.EncodeToString(p.narHash[:]), p.narSize)
	if p.deriver != "" {
		fmt.Fprintf(w, "/nix/store/%s", p.deriver)
	}
	fmt.Fprintf(w, "\n%d\n", len(p.refs))
	for _, ref := range p.refs {
		fmt.Fprintf(w, "/nix/store/%s\n", ref.name)
	}
}

// A path is one store path; write fills the NAR fields.
type path struct {
	name    string // base name
	deriver string // base name, empty for none
	refs    []*path
	files   map[string][]byte // one entry named "" is a path that is a file
	narHash [sha256.Size]byte
	narSize int64
}

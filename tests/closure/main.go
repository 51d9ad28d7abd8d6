// Command closure decides which installed Debian packages make up the store that
// tests and benches work on, and what each of its store paths is called.
//
// Standard input is the output of dpkg-query with the format in packages.go;
// standard output is one line per store path, a referenced path before the paths
// that refer to it:
//
//	package TAB store path name TAB deriver name or "-" TAB references, space separated
//
// The choice depends on nothing but the input: packages are taken seed by seed,
// each with everything it depends on, until a limit is reached, so the store is
// closed under references. Dependency cycles, which Debian has and a Nix store
// cannot have, lose the edge that closes them.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// seeds are first the packages that tests name, which every Debian has, then what
// a developer's machine is likely to have: a few that bring much in few files, and
// what brings many files and wide dependencies. valgrind brings the C library's
// debug files.
var seeds = strings.Fields(`libacl1 libaudit-common libbz2-1.0 libgcc-s1 zlib1g libllvm14 valgrind nix-bin git g++ make python3
	nginx curl perl gdb openssh-client vim cmake`)

func main() {
	maxPaths := flag.Int("paths", 160, "take at most this many packages")
	maxBytes := flag.Int64("bytes", 700e6, "take packages with at most this much installed size together")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *maxPaths, *maxBytes); err != nil {
		fmt.Fprintf(os.Stderr, "closure: error: %v\n", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, maxPaths int, maxBytes int64) error {
	installed, err := readPackages(in)
	if err != nil {
		return err
	}
	chosen := installed.choose(seeds, maxPaths, maxBytes)
	w := bufio.NewWriter(out)
	for _, p := range installed.order(chosen) {
		refs := make([]string, 0, len(p.refs)+1)
		for _, ref := range p.refs {
			refs = append(refs, ref.storeName())
		}
		if p.refersToItself() {
			refs = append(refs, p.storeName())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.key, p.storeName(), p.deriverName(), strings.Join(refs, " "))
	}
	return w.Flush()
}

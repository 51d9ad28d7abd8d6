//go:build linux && real

package crash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A closure is a few store paths, made up to have one of everything, in a
// store of the real Nix and in a binary cache that the real Nix wrote.
type closure struct {
	Root  string   // store root, as nix --store takes it
	Cache string   // directory of the binary cache, zstd
	Top   string   // store path whose closure is all of Paths
	Paths []string // all store paths, sorted
}

// records are the files that a tree of the whole closure must have.
func (c closure) records() []string {
	var names []string
	for _, path := range c.Paths {
		names = append(names, hashOf(path)+".narinfo", hashOf(path)+".ls")
	}
	return names
}

// named returns the store path of a name.
func (c closure) named(name string) string { return storeDir + "/" + baseName(name) }

// recordsOf are the files that a tree of some paths must have.
func (c closure) recordsOf(some ...string) (list []string) {
	for _, name := range some {
		list = append(list, hashOf(c.named(name))+".narinfo", hashOf(c.named(name))+".ls")
	}
	return list
}

// foreign makes a cache of some paths as another program leaves it: without listings and
// FileHash, and with NARs that are named by the hash of the NAR.
func (c closure) foreign(t testing.TB, tree string, some ...string) {
	t.Helper()
	field := func(text, name string) string {
		_, rest, _ := strings.Cut(text, "\n"+name+": ")
		value, _, ok := strings.Cut(rest, "\n")
		if !ok {
			t.Fatalf("a record has no %s:\n%s", name, text)
		}
		return value
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(c.Cache, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write(t, filepath.Join(tree, "nix-cache-info"), read("nix-cache-info"))
	for _, name := range some {
		record := hashOf(c.named(name)) + ".narinfo"
		text := read(record)
		url := field(text, "URL")
		other := "nar/" + strings.TrimPrefix(field(text, "NarHash"), "sha256:") + ".nar.zst"
		write(t, filepath.Join(tree, other), read(url))
		text = strings.Replace(text, url, other, 1)
		for _, gone := range []string{"FileHash", "FileSize"} {
			text = strings.Replace(text, "\n"+gone+": "+field(text, gone), "", 1)
		}
		write(t, filepath.Join(tree, record), text)
	}
}

func hashOf(path string) string { return filepath.Base(path)[:32] }

// A storePath is one of the closure. Letters stand for hashes.
type storePath struct {
	name    string
	refs    []string // names
	deriver string
	files   map[string]string // "" for a path that is a file
}

const (
	buildID  = "0123456789abcdef0123456789abcdef01234567"
	deriver  = "dddddddddddddddddddddddddddddddd-make.drv"
	storeDir = "/nix/store"
)

// baseName gives a path a hash that is easy to spot: its first letter, which
// must be one of the nix32 alphabet.
func baseName(name string) string {
	return strings.Repeat(name[:1], 32) + "-" + name
}

func storePaths() []storePath {
	return []storePath{
		{name: "base", files: map[string]string{"": "all paths rest on it"}},
		{name: "copy", files: map[string]string{"": "all paths rest on it"}}, // shares base's NAR
		{name: "lib", refs: []string{"base", "lib"}, files: map[string]string{"lib/liba.so": "code", "lib/noise": noise(300_000)}},
		{name: "symbols", files: map[string]string{"lib/debug/.build-id/" + buildID[:2] + "/" + buildID[2:] + ".debug": "symbols"}},
		{name: "make", refs: []string{"lib", "copy"}, deriver: deriver, files: map[string]string{"bin/make": "#!/bin/sh"}},
		{name: "zenith", refs: []string{"make", "lib", "symbols", "base"}, files: map[string]string{"bin/top": "#!/bin/sh", "share/doc": "text"}},
	}
}

var shared struct {
	sync.Mutex
	closure, other *closure
}

// small returns the closure, which all tests share: copy it before changing it.
func small(t testing.TB) closure {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.closure == nil {
		c := makeClosure(t, nixtest.SharedDir(t, "closure"), storePaths())
		shared.closure = &c
	}
	return *shared.closure
}

// otherBuild returns the same store paths with other contents, as from builds
// that do not come out the same twice.
func otherBuild(t testing.TB) closure {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.other == nil {
		paths := storePaths()
		for _, p := range paths {
			for name, text := range p.files {
				p.files[name] = text + " of another build"
			}
		}
		c := makeClosure(t, nixtest.SharedDir(t, "other"), paths)
		shared.other = &c
	}
	return *shared.other
}

// large returns paths of some megabytes each that refer to one another.
func large(t testing.TB) closure {
	t.Helper()
	return makeClosure(t, t.TempDir(), []storePath{
		{name: "base", files: map[string]string{"": noise(1 << 20)}},
		{name: "lib", refs: []string{"base"}, files: map[string]string{"": noise(2 << 20)}},
		{name: "make", refs: []string{"lib"}, files: map[string]string{"bin/make": noise(1<<20 + 1)}},
		{name: "zenith", refs: []string{"make", "base"}, files: map[string]string{"": noise(1<<20 + 2)}},
	})
}

// makeClosure has the oldest Nix make a store and a binary cache. The last path
// is the one that all others are for.
func makeClosure(t testing.TB, dir string, paths []storePath) closure {
	t.Helper()
	nix := peers.Old(t)
	c := closure{Root: filepath.Join(dir, "root"), Cache: filepath.Join(dir, "cache")}
	var registration bytes.Buffer
	for _, p := range paths {
		c.Top = storeDir + "/" + baseName(p.name)
		c.Paths = append(c.Paths, c.Top)
		file := filepath.Join(c.Root, c.Top)
		for name, text := range p.files {
			write(t, filepath.Join(file, name), text)
		}
		nar := nix.Output(t, "nix-store", "--dump", file)
		if !strings.HasSuffix(nar, "\x00") {
			t.Fatalf("Nix dumps %s as what is no NAR", file)
		}
		sum := sha256.Sum256([]byte(nar))
		fmt.Fprintf(&registration, "%s\n%s\n%d\n", c.Top, hex.EncodeToString(sum[:]), len(nar))
		if p.deriver != "" {
			fmt.Fprintf(&registration, "%s/%s", storeDir, p.deriver)
		}
		fmt.Fprintf(&registration, "\n%d\n", len(p.refs))
		for _, ref := range p.refs {
			fmt.Fprintf(&registration, "%s/%s\n", storeDir, baseName(ref))
		}
	}
	slices.Sort(c.Paths)
	load := nix.Command(t, "nix-store", "--store", c.Root, "--load-db")
	load.Stdin = &registration
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("fill a store: %v\n%s", err, out)
	}
	nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", c.Root, "--to", "file://"+c.Cache+"?compression=zstd", c.Top)
	const log = "it was built\n"
	write(t, filepath.Join(c.Root, "nix/var/log/nix/drvs", deriver[:2], deriver[2:]), log)
	write(t, filepath.Join(c.Cache, "log", deriver), log)
	return c
}

// noise returns n bytes that no compression makes fewer: a NAR that holds them
// is written in several pieces.
func noise(n int) string {
	b := make([]byte, n)
	for i, r := 0, rand.New(rand.NewPCG(1, uint64(n))); i < n; i++ {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

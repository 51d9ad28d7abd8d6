package treetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/signer"
)

// A Path is a store path with its NAR.
type Path struct {
	Info layout.PathInfo
	NAR  []byte
}

// A Paths is a closure of store paths, references first.
type Paths struct{ Paths []Path }

// Named returns the path of that name.
func (c *Paths) Named(name string) Path {
	i := slices.IndexFunc(c.Paths, func(p Path) bool { return p.Info.Path.Name() == name })
	return c.Paths[i]
}

// Closure returns a small closure, always the same, that holds one of each kind
// of store path:
//
//	builder.sh   text that content-addresses it
//	source       a directory, content-addressed by its NAR
//	flat         a file, content-addressed by its bytes
//	twin         input-addressed, with the same NAR as source
//	lib          input-addressed, with a symbolic link; refers to source
//	lib-debug    separate debug files
//	env          text with references
//	selfish      content-addressed, refers to itself
//	app          refers to lib, flat and itself; 300 kB that do not compress
func Closure(tb testing.TB) *Paths {
	tb.Helper()
	closureOnce.Do(func() { theClosure = closure(tb) })
	c := &Paths{Paths: slices.Clone(theClosure.Paths)}
	for i, p := range c.Paths {
		c.Paths[i].NAR, c.Paths[i].Info.References = slices.Clone(p.NAR), slices.Clone(p.Info.References)
	}
	return c
}

var (
	closureOnce sync.Once
	theClosure  *Paths // that Closure returns copies of
)

func closure(tb testing.TB) *Paths {
	tb.Helper()
	c := &Paths{}
	builder := c.text(tb, "builder.sh", "#!/bin/sh\necho hello > $out\n")
	source := c.fixed(tb, "source", map[string]string{"README": "Read me.\n", "src/main.c": "int main() {}\n", "src/empty": ""})
	flat := c.flat(tb, "flat", "just bytes\x00\xff\n")
	c.input(tb, "twin", c.Named("source").NAR)
	lib := c.input(tb, "lib", dump(tb, map[string]string{"lib/libx.so.1": "ELF", "lib/libx.so": "-> libx.so.1", "share/..odd": "x"}), source)
	c.input(tb, "lib-debug", dump(tb, map[string]string{
		"lib/debug/.build-id/ab/cdef0123456789abcdef0123456789abcdef01.debug": "DWARF",
		"lib/debug/.build-id/ab/ffff0123456789abcdef0123456789abcdef01.debug": "DWARF too",
		"lib/debug/.build-id/ab/short.debug":                                  "not one",
	}))
	c.text(tb, "env", "PATH="+lib.Abs(layout.DefaultStoreDir)+"/bin\n", lib, builder)
	c.selfish(tb)
	c.input(tb, "app", dump(tb, map[string]string{"bin/app": "+x " + string(pattern(300_000)), "bin/sh": "-> /bin/sh"}), lib, flat, hashed("app"))
	return c
}

// Populate makes a whole cache of the tree: nix-cache-info and the Closure, with
// links to its debug files, signed by keys.
func Populate(tb testing.TB, tree layout.Tree, keys ...signer.SecretKey) *Paths {
	tb.Helper()
	c := Closure(tb)
	if _, err := layout.Init(context.Background(), tree, layout.DefaultCacheInfo()); err != nil {
		tb.Fatal(err)
	}
	pool := compress.NewPool(2)
	defer pool.Close()
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: pool, Keys: keys, DebugInfo: true}
	if err := c.Add(context.Background(), w); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Add packs all paths and publishes them.
func (c *Paths) Add(ctx context.Context, w *layout.Writer) error {
	items := make([]layout.Item, 0, len(c.Paths))
	defer func() {
		for _, item := range items {
			item.Packed.Discard()
		}
	}()
	for _, p := range c.Paths {
		packed, err := w.Pack(ctx, &p.Info, func(w io.Writer) error {
			_, err := w.Write(p.NAR)
			return err
		})
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.Info.Path, err)
		}
		items = append(items, layout.Item{Info: p.Info, Packed: packed})
	}
	return w.Add(ctx, items)
}

func (c *Paths) add(p layout.StorePath, archive []byte, ca string, refs ...layout.StorePath) layout.StorePath {
	slices.Sort(refs)
	c.Paths = append(c.Paths, Path{NAR: archive, Info: layout.PathInfo{Path: p, NarHash: sha256.Sum256(archive),
		NarSize: int64(len(archive)), References: refs, CA: ca}})
	return p
}

func (c *Paths) input(tb testing.TB, name string, archive []byte, refs ...layout.StorePath) layout.StorePath {
	return c.add(hashed(name), archive, "", refs...)
}

func (c *Paths) text(tb testing.TB, name, text string, refs ...layout.StorePath) layout.StorePath {
	return c.addressed(tb, layout.HashText, name, dump(tb, map[string]string{"": text}), []byte(text), refs...)
}

func (c *Paths) flat(tb testing.TB, name, text string) layout.StorePath {
	return c.addressed(tb, layout.HashFlat, name, dump(tb, map[string]string{"": text}), []byte(text))
}

func (c *Paths) fixed(tb testing.TB, name string, files map[string]string) layout.StorePath {
	archive := dump(tb, files)
	return c.addressed(tb, layout.HashNAR, name, archive, archive)
}

func (c *Paths) addressed(tb testing.TB, method, name string, archive, bytes []byte, refs ...layout.StorePath) layout.StorePath {
	tb.Helper()
	sum := sha256.Sum256(bytes)
	ca := layout.ContentAddress{Method: method, Algo: "sha256", Digest: sum[:]}
	p, err := ca.Path(layout.DefaultStoreDir, name, refs, false)
	if err != nil {
		tb.Fatal(err)
	}
	return c.add(p, archive, ca.String(), refs...)
}

// selfish adds a path that refers to itself. Its hash is taken with zeros in the
// place of the hash and the positions appended, as Nix up to 2.16 and since 2.35
// does.
func (c *Paths) selfish(tb testing.TB) {
	tb.Helper()
	zeros := strings.Repeat("\x00", 32)
	archive := dump(tb, map[string]string{"me": "I am " + zeros + "-selfish, " + zeros + "!", "you": "nobody"})
	modulo := sha256.New()
	modulo.Write(archive)
	for at := 0; ; at += len(zeros) {
		i := bytes.Index(archive[at:], []byte(zeros))
		if i < 0 {
			break
		}
		at += i
		fmt.Fprintf(modulo, "|%d", at)
	}
	ca := layout.ContentAddress{Method: layout.HashNAR, Algo: "sha256", Digest: modulo.Sum(nil)}
	p, err := ca.Path(layout.DefaultStoreDir, "selfish", nil, true)
	if err != nil {
		tb.Fatal(err)
	}
	c.add(p, bytes.ReplaceAll(archive, []byte(zeros), []byte(p.Hash())), ca.String(), p)
}

// hashed makes up the path of an input-addressed output.
func hashed(name string) layout.StorePath {
	sum := sha256.Sum256([]byte(name))
	p, err := layout.ParseStorePath(nixbase32.EncodeToString(sum[:20]) + "-" + name)
	if err != nil {
		panic(err)
	}
	return p
}

// dump returns the NAR of a folder with these files: "-> x" is a symbolic link,
// "+x …" is executable. A file named "" is the root.
func dump(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	root := filepath.Join(tb.TempDir(), "root")
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, file)
		} else if text, ok := strings.CutPrefix(text, "+x "); ok {
			err = os.WriteFile(file, []byte(text), 0o755)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := nar.Dump(context.Background(), &b, root); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// testSignature makes up the 64 bytes of a signature.
func testSignature(i int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, 64))
}

func mustHash(k layout.Key) layout.Hash {
	h, err := k.FileHash()
	if err != nil {
		panic(err)
	}
	return h
}

// Source returns a cache in memory with one of everything.
func Source(tb testing.TB) *Mem {
	tb.Helper()
	tree := NewMem(tb)
	Populate(tb, tree)
	drv := "dddddddddddddddddddddddddddddddd-x.drv"
	for key, text := range map[layout.Key]string{
		layout.Key("log/" + drv): "it was built\n",
		"index.html":             "<!doctype html>",
	} {
		PutText(tb, tree, key, text)
	}
	r := layout.Realisation{OutPath: Record(tb, tree, "source").Path, Output: "out", DrvPath: layout.StorePath(drv)}
	objects, err := r.Objects()
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := layout.PutBatch(context.Background(), tree, objects); err != nil {
		tb.Fatal(err)
	}
	tree.Counts()
	return tree
}

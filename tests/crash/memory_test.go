//go:build linux && real

package crash

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// maxMemory is what the program may have resident at its peak, in bytes.
const maxMemory = 350 << 20

// measured runs nixstatic and checks the memory it took at its peak.
func measured(t *testing.T, p runner, args ...string) nixtest.Result {
	t.Helper()
	cmd := p.Command(t, args...)
	r := nixtest.Wait(t, cmd)
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	peak := used.Maxrss << 10 // Linux counts in KiB, and not less than we had when we started it
	t.Logf("%s: %d MiB at the peak, %v of processor time", args[0], peak>>20, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if peak > maxMemory {
		t.Errorf("nixstatic %s takes %d MiB, more than %d", args[0], peak>>20, maxMemory>>20)
	}
	return r
}

// The size of a path does not matter: it goes through in pieces. The file is a
// hole of 4 GiB, which takes no room on disk.
func TestMemoryOfLargePath(t *testing.T) {
	p, dir := newRunner(t), t.TempDir()
	const size = 4 << 30
	root := filepath.Join(dir, "root")
	write(t, filepath.Join(root, storeDir, baseName("hole")), "")
	hole := filepath.Join(root, storeDir, baseName("hole"))
	if err := os.Truncate(hole, size); err != nil {
		t.Fatal(err)
	}
	var added struct {
		Paths []struct {
			Path, NarHash string
			NarBytes      int64
		}
	}
	r := measured(t, p, "add", "--json", "--name", "hole", "--to", filepath.Join(dir, "added"), hole).Want(t, 0)
	if err := json.Unmarshal([]byte(r.Stdout), &added); err != nil || added.Paths[0].NarBytes < size {
		t.Fatalf("add prints %s: %v", r.Stdout, err)
	}
	// The store believes us what the NAR is, so that Nix need not read it too.
	sum, err := layout.ParseHash(added.Paths[0].NarHash)
	if err != nil {
		t.Fatal(err)
	}
	load := p.Nix.Command(t, "nix-store", "--store", root, "--load-db")
	load.Stdin = strings.NewReader(fmt.Sprintf("%s/%s\n%s\n%d\n\n0\n", storeDir, baseName("hole"), hex.EncodeToString(sum[:]), added.Paths[0].NarBytes))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("fill a store: %v\n%s", err, out)
	}
	path := storeDir + "/" + baseName("hole")
	tree := filepath.Join(dir, "exported")
	measured(t, p, "export", "--quiet", "--store", root, "--to", tree, path).Want(t, 0)
	measured(t, p, "export", "--quiet", "--from", tree, "--no-check-sigs", "--to", filepath.Join(dir, "copied"), path).Want(t, 0)
	measured(t, p, "verify", "--deep", "--quiet", tree).Want(t, 0)
}

// Nor is the number of paths, as long as it is one that people have.
func TestMemoryOfManyPaths(t *testing.T) {
	p, dir := newRunner(t), scratch(t)
	const many = 2000
	args := []string{"add", "--to", filepath.Join(dir, "cache")}
	for i := range many {
		file := filepath.Join(dir, fmt.Sprintf("files/path-%d", i))
		write(t, file, fmt.Sprintf("path number %d", i))
		args = append(args, file)
	}
	p.Stdin = measured(t, p, args...).Want(t, 0).Stdout
	tree := filepath.Join(dir, "tree")
	r := measured(t, p, "export", "--json", "--quiet", "--from", filepath.Join(dir, "cache"), "--to", tree, "-").Want(t, 0)
	var result struct{ Written int }
	if err := json.Unmarshal([]byte(r.Stdout), &result); err != nil || result.Written != many {
		t.Errorf("export prints %s: %v", r.Stdout, err)
	}
	measured(t, p, "verify", "--deep", "--quiet", tree).Want(t, 0)
}

// Nor is the number of files in a path: the listing of half a million has
// 30 MB.
func TestMemoryOfManyFiles(t *testing.T) {
	p, lie := newRunner(t), newLie(t)
	const many = 500_000
	if err := os.Remove(lie.at("nar/x.nar")); err != nil {
		t.Fatal(err)
	}
	compressed, err := os.Create(lie.at("nar/x.nar"))
	if err != nil {
		t.Fatal(err)
	}
	defer compressed.Close()
	zstd := exec.CommandContext(t.Context(), peers.Program(t, "zstd"), "-q", "-c", "-1")
	zstd.Stdout = compressed
	in, err := zstd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := zstd.Start(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	size := 0
	out := bufio.NewWriterSize(io.MultiWriter(in, sum), 1<<20)
	put := func(s string) {
		size += len(s)
		if _, err := out.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	put(words("nix-archive-1", "(", "type", "directory"))
	for i := range many {
		put(entry(fmt.Sprintf("file-%07d", i), ""))
	}
	put(words(")"))
	if err := errors.Join(out.Flush(), in.Close(), zstd.Wait()); err != nil {
		t.Fatal(err)
	}
	lie.set("Compression", "zstd")
	lie.set("NarHash", "sha256:"+hex.EncodeToString(sum.Sum(nil)))
	lie.set("NarSize", fmt.Sprint(size)) // which makes it the truth
	measured(t, p, "export", "--quiet", "--from", lie.dir, "--no-check-sigs", "--to", lie.tree, lie.path).Want(t, 0)
	measured(t, p, "verify", "--deep", "--quiet", lie.tree).Want(t, 0)
}

// A NAR of 10 GiB in a file of some hundred kilobytes, whose record speaks of
// 1000 bytes, is refused when these are used up.
func TestDecompressionBomb(t *testing.T) {
	p := newRunner(t)
	for method, program := range map[string][]string{
		"zstd":  {"zstd", "-q", "-c"},
		"xz":    {"xz", "-1", "-c"},
		"gzip":  {"gzip", "-c"},
		"bzip2": {"bzip2", "-c"},
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			const piece, pieces = 64 << 20, 160
			compress := func(r io.Reader) []byte {
				cmd := exec.CommandContext(t.Context(), peers.Program(t, program[0]), program[1:]...)
				cmd.Stdin = r
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s: %v", program[0], err)
				}
				return out
			}
			head := narHead(piece * pieces)
			zeros := compress(io.LimitReader(zero{}, piece))
			bomb := append(compress(strings.NewReader(head)), bytes.Repeat(zeros, pieces)...)

			lie := newLie(t)
			lie.set("Compression", method)
			lie.set("NarSize", "1000")
			lie.nar(bomb)
			for _, how := range [][]string{nil, {"--compression", "zstd"}} {
				args := append([]string{"export", "--from", lie.dir, "--no-check-sigs", "--to", lie.tree, lie.path}, how...)
				measured(t, p, args...).Refused(t, baseName("base"), "1000 bytes of its narinfo")
				lie.nothing(t)
			}
		})
	}
}

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

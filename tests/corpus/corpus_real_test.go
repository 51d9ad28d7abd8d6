//go:build real

// Package corpus reads trees as other caches write them, by every Nix and by each
// command.
package corpus

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// A shape is how a program writes a record and names the file of its NAR.
type shape struct {
	writer string
	method compress.Method
	file   func(*path) string // in nar/
	query  func(*path) string // behind the name in the URL
	record func(*path) string // between the URL and the references
	bare   bool               // no line References if there are none
	after  string             // the last lines
}

// A path is a store path in a tree of the corpus.
type path struct {
	shape
	hash, name        string
	refs              []*path
	narHash, fileHash layout.Hash
	narSize, fileSize int
}

func (p *path) base() string { return p.hash + "-" + p.name }

func ext(m compress.Method) string { return ".nar" + m.Extension() }

// How records tell of their files.
var (
	compression = func(p *path) string { return fmt.Sprintf("Compression: %s\n", p.method) }
	content     = func(p *path) string { return fmt.Sprintf("NarHash: %s\nNarSize: %d\n", p.narHash, p.narSize) }
	full        = func(p *path) string {
		return fmt.Sprintf("%sFileHash: %s\nFileSize: %d\n%s", compression(p), p.fileHash, p.fileSize, content(p))
	}
	bare  = func(p *path) string { return compression(p) + content(p) }
	inHex = func(p *path) string {
		return fmt.Sprintf("%sFileHash: sha256:%s\nFileSize: %d\n%s", compression(p), hex.EncodeToString(p.fileHash[:]), p.fileSize, content(p))
	}
)

// How files are named.
var (
	byFile  = func(p *path) string { return p.fileHash.Nix32() + ext(p.method) }
	byNAR   = func(p *path) string { return p.narHash.Nix32() + ext(p.method) }
	byHex   = func(p *path) string { return hex.EncodeToString(p.fileHash[:]) + ext(p.method) }
	byPath  = func(p *path) string { return p.hash + ".nar" }
	byBoth  = func(p *path) string { return p.hash + "-" + p.narHash.Nix32() + ".nar" }
	byUUID  = func(p *path) string { return "f47ac10b-58cc-4372-a567-" + p.hash[20:] + ext(p.method) }
	byOther = func(p *path) string { sum := layout.Hash(sha256.Sum256([]byte(p.hash))); return sum.Nix32() + ".nar" }
)

func shapes() []shape {
	const deriver = "Deriver: 00000000000000000000000000000000-x.drv\n"
	all := []shape{
		{writer: "Hydra of 2012", method: compress.Bzip2, file: byFile, record: full, after: deriver + "System: x86_64-linux\n"},
		{writer: "Nix 1", method: compress.Bzip2, file: byFile, record: func(p *path) string {
			return strings.Replace(full(p), "Compression: bzip2\n", "", 1)
		}, after: "Deriver: unknown-deriver\n"},
		{writer: "Attic", method: compress.Zstd, file: byPath, record: bare, after: "System: x86_64-linux\n" + deriver},
		{writer: "Attic", method: compress.Xz, file: byPath, record: bare},
		{writer: "Attic", method: compress.Brotli, file: byPath, record: bare},
		{writer: "Attic", method: compress.None, file: byPath, record: bare},
		{writer: "Cachix", method: compress.Xz, file: byHex, record: inHex, after: deriver},
		{writer: "Cachix", method: compress.Zstd, file: byUUID, record: inHex, after: deriver},
		{writer: "niks3", method: compress.Zstd, file: byNAR, record: bare, after: deriver},
		{writer: "harmonia", method: compress.None, file: byNAR, query: func(p *path) string { return "?hash=" + p.hash }, record: full, bare: true},
		{writer: "harmonia before FileHash", method: compress.None, file: byNAR, query: func(p *path) string { return "?hash=" + p.hash }, record: bare, bare: true, after: deriver},
		{writer: "nix-serve", method: compress.None, file: byBoth, record: bare, bare: true, after: deriver},
		{writer: "nix-serve of 2013", method: compress.None, file: byPath, record: bare, bare: true},
		{writer: "ncps", method: compress.None, file: byOther, record: bare},
		{writer: "ncps of an opaque URL", method: compress.Zstd, file: byNAR, record: full},
		{writer: "nix-casync", method: compress.Zstd, file: byNAR, record: bare},
		{writer: "a later Nix", method: compress.Zstd, file: byFile, record: bare, after: "Provenance: {\"a\": 1}\nFuture: x\n"},
		{writer: "a program of its own", method: compress.Zstd, file: byFile, record: func(p *path) string {
			return strings.Replace(full(p), "NarHash: ", "Nar-Extra: x: y\nNarHash: ", 1)
		}, after: "Sig: short-1:aGVsbG8=\n"},
	}
	for _, m := range []compress.Method{compress.Xz, compress.Zstd, compress.Gzip, compress.Brotli, compress.None} {
		all = append(all, shape{writer: "Nix", method: m, file: byFile, record: full, after: deriver})
	}
	return all
}

// build writes a tree that holds each shape without references, with one to
// itself, and with others.
func build(t *testing.T, dir string) []*path {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "nar"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("nix-cache-info", []byte("StoreDir: /nix/store\n"))
	pool := compress.NewPool(1)
	defer pool.Close()
	var all []*path
	for i, s := range shapes() {
		for j := range 3 {
			p := &path{shape: s, hash: fmt.Sprintf("%032d", 100*(i+1)+j), name: fmt.Sprintf("path-%d-%d", i, j)}
			switch j {
			case 1:
				p.refs = []*path{p}
			case 2:
				p.refs = []*path{all[len(all)-2], all[len(all)-1]}
			}
			src := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(src, []byte(p.base()+" by "+s.writer+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			var archive, file bytes.Buffer
			if err := nar.Dump(t.Context(), &archive, src); err != nil {
				t.Fatal(err)
			}
			z, err := pool.NewWriter(t.Context(), &file, s.method, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(archive.Bytes()); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			p.narHash, p.narSize = sha256.Sum256(archive.Bytes()), archive.Len()
			p.fileHash, p.fileSize = sha256.Sum256(file.Bytes()), file.Len()
			write("nar/"+s.file(p), file.Bytes())
			query := ""
			if s.query != nil {
				query = s.query(p)
			}
			text := fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/%s%s\n%s", p.base(), s.file(p), query, s.record(p))
			if !s.bare || len(p.refs) > 0 {
				var names []string
				for _, ref := range p.refs {
					names = append(names, ref.base())
				}
				text += "References: " + strings.Join(names, " ") + "\n"
			}
			write(p.hash+".narinfo", []byte(text+s.after))
			all = append(all, p)
		}
	}
	return all
}

func names(paths []*path, keep func(*path) bool) []string {
	var all []string
	for _, p := range paths {
		if keep(p) {
			all = append(all, "/nix/store/"+p.base())
		}
	}
	return all
}

func every(*path) bool { return true }

// copied has a Nix copy paths from a cache.
func copied(t *testing.T, nix peers.Nix, from string, paths []string) {
	t.Helper()
	root := peers.StoreRoot(t)
	args := append([]string{"copy", "--no-check-sigs", "--from", from, "--to", root}, paths...)
	nix.Output(t, "nix", args...)
	for _, p := range paths {
		if text, err := os.ReadFile(filepath.Join(root, p)); err != nil || !strings.HasPrefix(string(text), filepath.Base(p)+" by ") {
			t.Errorf("Nix %s from %s: %s holds %q, %v", nix.Version, from, p, text, err)
		}
	}
}

// TestCorpus: what every Nix reads, each command reads whole.
//
// The commands differ from Nix in two ways. Nix takes a URL with a query
// literally in a directory, and does not find the NAR there; the commands find it
// by the name that a web server gives out. verify wants a listing beside each
// record, which few programs write and no Nix reads.
func TestCorpus(t *testing.T) {
	base := t.TempDir()
	tree := filepath.Join(base, "tree")
	paths := build(t, tree)
	all := names(paths, every)
	literal := names(paths, func(p *path) bool { return p.query == nil })
	if len(paths) < 60 {
		t.Errorf("%d records", len(paths))
	}
	web := nixtest.ServeNginx(t, tree)
	for _, nix := range peers.Nixes(t) {
		copied(t, nix, "file://"+tree, literal)
		copied(t, nix, web.URL, all)
	}

	program := nixtest.Program{Nix: peers.Newest(t)}
	verified := program.Run(t, "verify", "--deep", tree)
	for line := range strings.Lines(verified.Stdout) {
		if kind, _, _ := strings.Cut(strings.TrimPrefix(line, "note: "), " "); kind != "missing-listing" && kind != "no-file-hash" {
			t.Errorf("verify: %s", line)
		}
	}

	mirror := filepath.Join(base, "mirror")
	if r := program.Run(t, "sync", tree, mirror); r.Code != 0 {
		t.Fatalf("sync: %s", r.Stderr)
	}
	same(t, tree, mirror)
	copied(t, peers.Newest(t), "file://"+mirror, literal)

	// To a bucket, back from what is served of it, and read there.
	store := minio.Start(t, 1)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": store.AccessKey, "AWS_SECRET_ACCESS_KEY": store.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	bucket := "s3://corpus?scheme=http&endpoint=" + strings.TrimPrefix(store.Endpoint, "http://")
	for _, args := range [][]string{{"init", bucket}, {"sync", tree, bucket}} {
		if r := program.Run(t, args...); r.Code != 0 {
			t.Fatalf("%q: %s", args, r.Stderr)
		}
	}
	served := serve(t, program, bucket)
	copied(t, peers.Old(t), served, all)
	back := filepath.Join(base, "back")
	if r := program.Run(t, "sync", served, back); r.Code != 0 {
		t.Fatalf("sync back: %s", r.Stderr)
	}
	same(t, tree, back)

	key := program.NewKey(t, "corpus-1")
	if r := program.Run(t, "sign", "-k", key.File, mirror); r.Code != 0 {
		t.Fatalf("sign: %s", r.Stderr)
	}
	signed := nixtest.ServeNginx(t, mirror)
	copied(t, peers.Old(t), signed.URL, all)
	for from, name := range map[string]string{mirror: "from-dir", signed.URL: "from-web"} {
		to := filepath.Join(base, name)
		r := program.Run(t, append([]string{"export", "--from", from, "--trusted-public-key", key.Public, "--to", to}, all...)...)
		if r.Code != 0 {
			t.Fatalf("export --from %s: %s", from, r.Stderr)
		}
		if r := program.Run(t, "verify", "--deep", to); r.Code != 0 {
			t.Errorf("what was exported from %s: %s%s", from, r.Stdout, r.Stderr)
		}
		copied(t, peers.Newest(t), "file://"+to, all)
	}
}

// serve serves a tree until the test ends.
func serve(t *testing.T, program nixtest.Program, tree string) string {
	t.Helper()
	return strings.TrimSuffix(nixtest.Serve(t, program.Command(t, "serve", tree, "--read-only", "--listen", "127.0.0.1:0")), "/")
}

// same compares the files of two trees, but for what is private.
func same(t *testing.T, want, got string) {
	t.Helper()
	for _, folder := range []string{"", "nar"} {
		entries, err := os.ReadDir(filepath.Join(want, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(folder, e.Name())
			if e.IsDir() {
				continue
			}
			a, errA := os.ReadFile(filepath.Join(want, name))
			b, errB := os.ReadFile(filepath.Join(got, name))
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: %v, %v, equal %t", name, errA, errB, bytes.Equal(a, b))
			}
		}
	}
}

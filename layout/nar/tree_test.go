package nar

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A file is a node to make on disk, and what a Visitor tells of one: a path, and
// what is there. Mode is that of a regular file.
type file struct {
	Path   string
	Kind   Type
	Mode   os.FileMode
	Body   string
	Target string
}

func dirs(path string) file           { return file{Path: path, Kind: TypeDirectory} }
func link(path, target string) file   { return file{Path: path, Kind: TypeSymlink, Target: target} }
func regularFile(path, s string) file { return file{path, TypeRegular, 0o644, s, ""} }

// write makes the files in a new directory and returns its path.
func write(t testing.TB, files []file) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(root, f.Path)
		var err error
		switch f.Kind {
		case TypeDirectory:
			err = os.MkdirAll(path, 0o755)
		case TypeSymlink:
			err = os.Symlink(f.Target, path)
		default:
			if err = os.WriteFile(path, []byte(f.Body), 0o600); err == nil {
				err = os.Chmod(path, f.Mode)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// kinds are files of every kind and name, small. Names that are not UTF-8 are left
// out on request.
func kinds(onlyText bool) []file {
	files := []file{
		// Not in the order of the archive, to see it sorted.
		regularFile("zz", "z"), regularFile("a", "a"), regularFile("Z", "Z"), regularFile("a-b", ""),
		dirs("a.d"), regularFile("a.d/x", "x"), dirs("empty"), regularFile("empty file", ""),
		regularFile("..foo", "dots"), regularFile("...", "dots"), regularFile(".hidden", "h"),
		regularFile(")", "close"), regularFile("(", "open"), dirs("entry"), regularFile("entry/node", "n"),
		regularFile("new\nline", "n"), regularFile(`quo"te\back`, "q"), regularFile("tab\t\x01\x1f\x7f", "c"),
		regularFile("<html>&\u2028", "h"), regularFile("u\u0308", "nfd"), regularFile("\u00fc", "nfc"),
		regularFile("\U0001F600", "smile"), regularFile("\uFFFF", "noncharacter"),
		regularFile("case", "l"), regularFile("CASE~nix~case~hack~1", "h"),
		regularFile(strings.Repeat("n", MaxName), "long"),
		link("link", "a"), link("dangling", "/nowhere/at all"), link("loop", "loop"), link("up", "../.."),
		link("to dir", "a.d"), link("long link", strings.Repeat("t/", MaxTarget/2)+"t"),
		regularFile("nul", "a\x00b"), regularFile("paren", tokClose),
	}
	for mode := os.FileMode(0); mode < 8; mode++ {
		x := mode&1 | mode&2<<2 | mode&4<<4
		files = append(files, file{fmt.Sprintf("mode %03o", x), TypeRegular, 0o600 | x, "x", ""})
	}
	files = append(files,
		file{"setuid", TypeRegular, 0o644 | os.ModeSetuid, "x", ""},
		file{"setuid x", TypeRegular, 0o755 | os.ModeSetuid | os.ModeSetgid, "x", ""})
	for size := range 18 {
		files = append(files, regularFile(fmt.Sprintf("size %02d", size), "0123456789abcdefgh"[:size]))
	}
	if !onlyText {
		files = append(files, regularFile("\xff", "ff"), regularFile("latin \xe9t\xe9", "l"), regularFile("\xed\xa0\x80", "surrogate"),
			link("latin link", "\xe9t\xe9"))
	}
	return files
}

// randomTree returns files in the order of a NAR.
func randomTree(r *rand.Rand) []file {
	var files []file
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		names := map[string]bool{}
		for range r.IntN(6) {
			name := make([]byte, 1+r.IntN(12))
			for i := range name {
				for name[i] == 0 || name[i] == '/' {
					name[i] = byte(r.Uint32())
				}
				// Other systems refuse bytes that are not UTF-8, or take one
				// letter for another.
				if runtime.GOOS != "linux" {
					name[i] = 'a' + name[i]%26
				}
			}
			if s := string(name); validName(s) {
				names[s] = true
			}
		}
		sorted := make([]string, 0, len(names))
		for n := range names {
			sorted = append(sorted, n)
		}
		slices.Sort(sorted)
		for _, n := range sorted {
			path := dir + n
			switch k := r.IntN(4); {
			case k == 0 && depth < 5:
				files = append(files, dirs(path))
				fill(path+"/", depth+1)
			case k == 1:
				files = append(files, link(path, string(bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1+r.IntN(40)))))
			default:
				f := regularFile(path, string(bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(3000))))
				if r.IntN(2) == 0 {
					f.Mode = 0o755
				}
				files = append(files, f)
			}
		}
	}
	fill("", 0)
	return files
}

// A recorder is a Visitor that keeps all it is told below the root.
type recorder struct {
	files []file
	dir   []string
}

func (r *recorder) path(name string) string {
	return strings.TrimPrefix(strings.Join(append(slices.Clone(r.dir), name), "/"), "/")
}

func (r *recorder) Enter(name string) error {
	if len(r.dir) > 0 {
		r.files = append(r.files, dirs(r.path(name)))
	}
	r.dir = append(r.dir, name)
	return nil
}

func (r *recorder) Leave() error {
	r.dir = r.dir[:len(r.dir)-1]
	return nil
}

func (r *recorder) Regular(name string, executable bool, size, offset int64) error {
	f := regularFile(r.path(name), "")
	if executable {
		f.Mode = 0o755
	}
	r.files = append(r.files, f)
	return nil
}

func (r *recorder) Content(p []byte) error {
	r.files[len(r.files)-1].Body += string(p)
	return nil
}

func (r *recorder) Symlink(name, target string) error {
	r.files = append(r.files, link(r.path(name), target))
	return nil
}

// A builder is a Visitor that keeps the listing of a NAR in memory.
type builder struct {
	root *Node
	dirs []*Node
}

func (b *builder) Enter(name string) error {
	n := &Node{Type: TypeDirectory, Entries: map[string]*Node{}}
	b.add(name, n)
	b.dirs = append(b.dirs, n)
	return nil
}

func (b *builder) Leave() error {
	b.dirs = b.dirs[:len(b.dirs)-1]
	return nil
}

func (b *builder) Regular(name string, executable bool, size, offset int64) error {
	b.add(name, &Node{Type: TypeRegular, Size: size, Executable: executable, NarOffset: offset})
	return nil
}

func (b *builder) Content([]byte) error { return nil }

func (b *builder) Symlink(name, target string) error {
	b.add(name, &Node{Type: TypeSymlink, Target: text(target)})
	return nil
}

func (b *builder) add(name string, n *Node) {
	if len(b.dirs) == 0 {
		b.root = n
		return
	}
	b.dirs[len(b.dirs)-1].Entries[text(name)] = n
}

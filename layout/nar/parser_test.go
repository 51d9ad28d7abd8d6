package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// words encodes strings as they stand in an archive. A word "=n" is the bare number n.
func words(ws ...string) []byte {
	var e encoder
	e.str(ws...)
	return e.Bytes()
}

func cat(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

func number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// inDir encloses what stands between the entries of a directory.
func inDir(bs ...[]byte) []byte {
	return cat(words("nix-archive-1", "(", "type", "directory"), cat(bs...), words(")"))
}

func entryNamed(name string, node ...string) []byte {
	ws := append([]string{"entry", "(", "name", name, "node"}, node...)
	return words(append(ws, ")")...)
}

var emptyFile = []string{"(", "type", "regular", "contents", "", ")"}

// testdata returns the NARs that Nix 2.8 made of kinds(true) and three of its nodes,
// and of the sample.
func testdata(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.nar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata: no NARs (%v)", err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		if out[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// sampleNAR returns a small archive with a node of each kind, the same that Nix made
// of such a tree in testdata/sample.nar.
func sampleNAR() []byte {
	return encode(func(v Visitor) {
		file := func(name, body string, exec bool) {
			v.Regular(name, exec, int64(len(body)), -1)
			if body != "" {
				v.Content([]byte(body))
			}
		}
		v.Enter("")
		file("a", "hello", false)
		file("b", "#!/bin/sh\n", true)
		v.Enter("dir")
		file("eight", "12345678", false)
		v.Enter("empty")
		v.Leave()
		file("none", "", false)
		v.Leave()
		v.Symlink("link", "dir/eight")
		v.Leave()
	})
}

func TestParserAccepts(t *testing.T) {
	nars := testdata(t)
	if !bytes.Equal(nars["sample.nar"], sampleNAR()) {
		t.Fatal("the encoder of these tests does not encode as Nix does")
	}
	nars["empty directory"] = inDir()
	nars["longest name"] = inDir(entryNamed(strings.Repeat("n", MaxName), emptyFile...))
	nars["longest target"] = words("nix-archive-1", "(", "type", "symlink", "target", strings.Repeat("t", MaxTarget), ")")
	nars["deepest"] = nested(MaxDepth)
	for name, nar := range nars {
		for _, piece := range []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 100, 4096} {
			got, err := reencode(t, nar, piece)
			if err != nil {
				t.Errorf("%s, pieces of %d: %v", name, piece, err)
			} else if !bytes.Equal(got, nar) {
				t.Errorf("%s, pieces of %d: visitor was told of another archive", name, piece)
			}
		}
		p := NewParser(nil)
		p.Write(nar)
		if err := p.Close(); err != nil || p.offset() != int64(len(nar)) {
			t.Errorf("%s: Close = %v at offset %d, want %d", name, err, p.offset(), len(nar))
		}
	}
}

// nested returns an archive of n directories inside one another, the root included.
func nested(n int) []byte {
	var b bytes.Buffer
	b.Write(words("nix-archive-1", "(", "type", "directory"))
	for range n - 1 {
		b.Write(words("entry", "(", "name", "d", "node", "(", "type", "directory"))
	}
	for range n - 1 {
		b.Write(words(")", ")"))
	}
	b.Write(words(")"))
	return b.Bytes()
}

func TestParserRefuses(t *testing.T) {
	file := func(ws ...string) []byte {
		return words(append([]string{"nix-archive-1", "(", "type", "regular"}, ws...)...)
	}
	target := func(b []byte) []byte {
		return cat(words("nix-archive-1", "(", "type", "symlink", "target"), b, words(")"))
	}
	sized := func(n uint64) []byte { return cat(file("contents"), number(n)) }
	tests := []struct {
		name   string
		nar    []byte
		offset int64
		path   string
		says   string
	}{
		{"other magic", words("nix-archive-2", "(", "type", "regular", "contents", "", ")"), 20, "", "start of an archive"},
		{"empty", nil, 0, "", "cut short"},
		{"no type", words("nix-archive-1", "(", ")"), 40, "", "expected the start of an archive"},
		{"cut in the magic", words("nix-archive-1", "("), 40, "", "cut short, expected the start of an archive"},
		{"unknown type", words("nix-archive-1", "(", "type", "socket", ")"), 56, "", `expected "regular", "symlink" or "directory"`},
		{"longer type", words("nix-archive-1", "(", "type", "directorY", ")"), 72, "", `expected "regular", "symlink" or "directory"`},
		{"trailing", cat(inDir(), []byte{0}), 96, "", "after the end"},
		{"two archives", cat(inDir(), inDir()), 96, "", "after the end"},

		{"file without contents", file(")"), 72, "", `expected "contents" or "executable"`},
		{"executable without contents", file("executable", "", ")", ")"), 104, "", `expected "contents" or "executable"`},
		{"executable not empty", file("executable", "x", "contents", "", ")"), 96, "", "expected"},
		{"executable after contents", file("contents", "", "executable", "", ")"), 96, "", `expected ")"`},
		{"padding of content", cat(file("contents"), number(1), []byte("x\x00\x00\x00\x00\x00\x00\x01"), words(")")), 97, "", "padding"},
		{"size over int64", sized(math.MaxInt64 + 1), 88, "", "out of range"},
		{"greatest size", sized(math.MaxUint64), 88, "", "out of range"},
		{"size that overflows the offset", sized(math.MaxInt64 - 95), 88, "", "out of range"},
		{"size announced only", sized(1 << 62), 96, "", "cut short, expected the contents"},

		{"empty target", target(words("")), 88, "", "length 0"},
		{"long target", target(words(strings.Repeat("t", MaxTarget+1))), 88, "", "length 4096"},
		{"NUL in target", target(words("a\x00b")), 88, "", "NUL"},
		{"padding of target", target(cat(number(1), []byte("x\x00\x00\x00\x00\x00\x00y"))), 97, "", "padding"},

		{"empty name", inDir(entryNamed("", emptyFile...)), 128, "", "length 0"},
		{"long name", inDir(entryNamed(strings.Repeat("n", MaxName+1), emptyFile...)), 128, "", "length 256"},
		{"endless name", inDir(words("entry", "(", "name"), number(math.MaxUint64)), 128, "", "length 18446744073709551615"},
		{"name .", inDir(entryNamed(".", emptyFile...)), 128, "", `illegal name "."`},
		{"name ..", inDir(entryNamed("..", emptyFile...)), 128, "", `illegal name ".."`},
		{"slash", inDir(entryNamed("a/b", emptyFile...)), 128, "", `illegal name "a/b"`},
		{"NUL", inDir(entryNamed("a\x00", emptyFile...)), 128, "", "illegal name"},
		{"padding of name", inDir(words("entry", "(", "name"), number(1), []byte("x\x00\x00\x00\x00\x00\x00y"), words("node"), words(emptyFile...), words(")")), 137, "", "padding"},
		{"twice", inDir(entryNamed("a", emptyFile...), entryNamed("a", emptyFile...)), 312, "", `"a" stands twice`},
		{"descending", inDir(entryNamed("b", emptyFile...), entryNamed("a", emptyFile...)), 312, "", `"a" stands after "b"`},
		{"signed order", inDir(entryNamed("\xff", emptyFile...), entryNamed("a", emptyFile...)), 312, "", `stands after`},
		{"name after node", inDir(words("entry", "(", "node")), 121, "", "expected"},
		{"no node", inDir(entryNamed("a")), 168, "a", `expected "node"`},
		{"unknown word in a directory", inDir(words("other")), 80, "", `expected "entry" or ")"`},
		{"entry not closed", inDir(words("entry", "(", "name", "a", "node"), words(emptyFile...)), 264, "", `cut short, expected "entry"`},
		{"inner path", inDir(entryNamed("a", "(", "type", "directory", "entry", "(", "name", "b", "node", "(", "type", "fifo")), 328, "a/b", "expected"},
		{"too deep", nested(MaxDepth + 1), -1, strings.Repeat("d/", MaxDepth-1) + "d", "more than 2048 directories"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := parse(tt.nar, 0, nil)
			var se *SyntaxError
			if !errors.As(err, &se) {
				t.Fatalf("error %v, want a SyntaxError", err)
			}
			if tt.offset >= 0 && se.Offset != tt.offset || se.Path != tt.path || !strings.Contains(se.Msg, tt.says) {
				t.Errorf("error %q at %d in %.40q, want %q at %d in %.40q", se.Msg, se.Offset, se.Path, tt.says, tt.offset, tt.path)
			}
			if len(err.Error()) > 700 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
			for _, piece := range []int{1, 5, 8, 100} {
				if again := parse(tt.nar, piece, nil); again == nil || again.Error() != err.Error() {
					t.Errorf("in pieces of %d: %v, want %v", piece, again, err)
				}
			}
		})
	}
}

func TestParserTruncated(t *testing.T) {
	for _, nar := range [][]byte{sampleNAR(), testdata(t)["link.nar"], testdata(t)["exec.nar"]} {
		for n := range nar {
			for _, piece := range []int{0, 1} {
				err := parse(nar[:n], piece, nil)
				var se *SyntaxError
				if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &se) || se.Offset != int64(n) {
					t.Fatalf("first %d of %d bytes: %v, want a SyntaxError for the cut", n, len(nar), err)
				}
			}
		}
	}
}

// TestParserFlips changes each byte. An archive that is still taken must be
// canonical, which only a change in names or contents leaves it.
func TestParserFlips(t *testing.T) {
	nar := sampleNAR()
	free := map[int]bool{} // names, targets, contents, and their lengths
	for _, s := range []string{"hello", "#!/bin/sh\n", "12345678", "dir/eight", "link", "eight", "none", "empty", "dir"} {
		for at := 0; ; {
			i := bytes.Index(nar[at:], words(s))
			if i < 0 {
				break
			}
			for j := range words(s) {
				free[at+i+j] = true
			}
			at += i + 1
		}
	}
	for _, s := range []string{"a", "b"} {
		i := bytes.Index(nar, words("name", s))
		for j := range 16 {
			free[i+16+j] = true
		}
	}
	taken := 0
	for i := range nar {
		for _, mask := range []byte{0x01, 0x02, 0x20, 0x80, 0xff} {
			bad := bytes.Clone(nar)
			bad[i] ^= mask
			got, err := reencode(t, bad, 0)
			if err != nil {
				continue
			}
			taken++
			if !free[i] {
				t.Errorf("flip of %#x at %d was taken", mask, i)
			}
			if !bytes.Equal(got, bad) {
				t.Errorf("flip of %#x at %d was taken and is not canonical", mask, i)
			}
		}
	}
	if taken == 0 {
		t.Error("no flip was taken, not even in contents")
	}
}

func TestParserDeepRefusedEarly(t *testing.T) {
	p := NewParser(nil)
	nar := nested(10_000)
	_, err := p.Write(nar)
	var se *SyntaxError
	if !errors.As(err, &se) || se.Offset > int64(len(nar))/4 {
		t.Errorf("10,000 levels: %v, want them refused after %d", err, MaxDepth)
	}
}

var errVisit = errors.New("visitor has enough")

// A failing is a Visitor that fails at its nth call.
type failing struct{ n int }

func (f *failing) call() error {
	if f.n--; f.n == 0 {
		return errVisit
	}
	return nil
}
func (f *failing) Enter(string) error                       { return f.call() }
func (f *failing) Leave() error                             { return f.call() }
func (f *failing) Regular(string, bool, int64, int64) error { return f.call() }
func (f *failing) Content([]byte) error                     { return f.call() }
func (f *failing) Symlink(string, string) error             { return f.call() }

func TestParserErrorsAreFinal(t *testing.T) {
	nar := sampleNAR()
	for n := 1; ; n++ {
		v := &failing{n}
		p := NewParser(Visitors(nil, Discard{}, v))
		wrote, err := p.Write(nar)
		if v.n > 0 { // more calls than there are
			if n < 14 || err != nil || p.Close() != nil {
				t.Fatalf("%d calls, error %v", n, err)
			}
			break
		}
		if err != errVisit || wrote >= len(nar) {
			t.Fatalf("call %d: Write = %d, %v", n, wrote, err)
		}
		for range 2 {
			if m, err := p.Write(nar[wrote:]); m != 0 || err != errVisit {
				t.Fatalf("call %d: later Write = %d, %v", n, m, err)
			}
			if err := p.Close(); err != errVisit {
				t.Fatalf("call %d: Close = %v", n, err)
			}
		}
	}
	p := NewParser(nil)
	p.Write(nar)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n, err := p.Write(nar); n != 0 || err == nil {
		t.Errorf("Write after Close = %d, %v", n, err)
	}
	if _, same := Visitors(nil, &failing{}).(*failing); !same {
		t.Error("Visitors of one is not that one")
	}
	if _, discard := Visitors().(Discard); !discard {
		t.Error("Visitors of none is not Discard")
	}
}

func TestTokens(t *testing.T) {
	for tok, word := range map[string]string{
		tokMagic: "nix-archive-1", tokOpen: "(", tokClose: ")", tokType: "type", tokRegular: "regular",
		tokExecutable: "executable", tokEmpty: "", tokContents: "contents", tokSymlink: "symlink", tokTarget: "target",
		tokDirectory: "directory", tokEntry: "entry", tokName: "name", tokNode: "node",
	} {
		if want := string(words(word)); tok != want {
			t.Errorf("token %q, want %q", tok, want)
		}
	}
}

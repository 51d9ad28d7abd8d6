//go:build linux && real

package crash

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A lie is a binary cache of one path, which a test makes wrong in some way,
// and the tree that it is to get into.
type lie struct {
	t      testing.TB
	dir    string // the cache
	tree   string
	path   string // the store path
	fields [][2]string
}

// newLie returns a cache that is still right.
func newLie(t testing.TB) *lie {
	t.Helper()
	dir := scratch(t)
	l := &lie{t: t, dir: filepath.Join(dir, "cache"), tree: filepath.Join(dir, "tree"), path: storeDir + "/" + baseName("base")}
	l.file("nix-cache-info", "StoreDir: "+storeDir+"\n")
	l.fields = [][2]string{{"StorePath", l.path}, {"URL", "nar/x.nar"}, {"Compression", "none"},
		{"NarHash", ""}, {"NarSize", ""}, {"References", ""}}
	l.content(narOf("content"))
	return l
}

func (l *lie) file(name, text string) { l.t.Helper(); write(l.t, filepath.Join(l.dir, name), text) }

func (l *lie) at(name string) string { return filepath.Join(l.dir, name) }

// set gives a field of the record a value, and writes the record.
func (l *lie) set(field, value string) {
	l.t.Helper()
	i := slices.IndexFunc(l.fields, func(f [2]string) bool { return f[0] == field })
	if i < 0 {
		l.fields = append(l.fields, [2]string{field, value})
	} else {
		l.fields[i][1] = value
	}
	var b strings.Builder
	for _, f := range l.fields {
		fmt.Fprintf(&b, "%s: %s\n", f[0], f[1])
	}
	l.file(hashOf(l.path)+".narinfo", b.String())
}

// nar puts the bytes where the record leads.
func (l *lie) nar(file []byte) { l.t.Helper(); l.file("nar/x.nar", string(file)) }

// content makes the cache one of this NAR, rightly.
func (l *lie) content(nar string) {
	l.t.Helper()
	l.nar([]byte(nar))
	sum := sha256.Sum256([]byte(nar))
	l.set("NarHash", "sha256:"+hex.EncodeToString(sum[:]))
	l.set("NarSize", fmt.Sprint(len(nar)))
}

// nothing checks that nothing of the path got into the tree.
func (l *lie) nothing(t testing.TB) {
	t.Helper()
	for _, name := range names(t, l.tree) {
		if name != "nix-cache-info" {
			t.Errorf("%s is in the tree", name)
		}
	}
}

// Words of the NAR format: each has its length before it and is filled up with
// zeros to a multiple of 8 bytes.
func words(list ...string) string {
	var b []byte
	for _, s := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&7)...)
	}
	return string(b)
}

// narOf returns the NAR of a file.
func narOf(content string) string {
	return words("nix-archive-1", "(", "type", "regular", "contents", content, ")")
}

// narHead returns the beginning of the NAR of a file, up to its content.
func narHead(size uint64) string {
	return words("nix-archive-1", "(", "type", "regular", "contents") + string(binary.LittleEndian.AppendUint64(nil, size))
}

// entry returns the words of a directory entry that is a file.
func entry(name, content string) string {
	return words("entry", "(", "name", name, "node", "(", "type", "regular", "contents", content, ")", ")")
}

// narOfDir returns the NAR of a directory with the entries given.
func narOfDir(entries ...string) string {
	return words("nix-archive-1", "(", "type", "directory") + strings.Join(entries, "") + words(")")
}

// pipe makes a named pipe, to which no process ever writes.
func (l *lie) pipe(name string) {
	l.t.Helper()
	file := l.at(name)
	os.Remove(file)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o666); err != nil {
		l.t.Fatal(err)
	}
}

// link makes a symbolic link, in the place of what is there.
func (l *lie) link(name, target string) {
	l.t.Helper()
	file := l.at(name)
	os.Remove(file)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Symlink(target, file); err != nil {
		l.t.Fatal(err)
	}
}

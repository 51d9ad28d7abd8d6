package mirror_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// edit changes a file in place, and keeps its length and its time of
// modification. It goes on until the file system has seen the change: its clock
// may tick a few hundred times a second only.
func edit(t *testing.T, d *layout.Dir, key layout.Key, change func([]byte)) {
	t.Helper()
	name := filepath.Join(d.Path(), string(key))
	stat := func() os.FileInfo {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := stat()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	change(text)
	for range 1000 {
		if layout.FileVersion(stat()) != layout.FileVersion(before) {
			break
		}
		time.Sleep(time.Millisecond)
		if err := errors.Join(os.WriteFile(name, text, 0o644), os.Chtimes(name, time.Time{}, before.ModTime())); err != nil {
			t.Fatal(err)
		}
	}
	if after := stat(); !os.SameFile(before, after) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Fatal("the edit shows")
	}
}

// A record that was edited in place, so that its inode, size and time of
// modification stay, is mirrored, whichever side it is on.
func TestMirrorEditedInPlace(t *testing.T) {
	a, b := treetest.OpenDir(t, t.TempDir()), treetest.OpenDir(t, t.TempDir())
	mustRun(t, &mirror.Mirror{Source: treetest.Source(t), Dest: a})
	record := layout.NarInfoKey(treetest.Record(t, a, "app").Path)
	treetest.PutText(t, a, record, treetest.Contents(t, a)[record]+"Sig: test-1:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+"\n")
	epoch := time.Unix(1, 0)
	for key := range treetest.Contents(t, a) {
		if err := os.Chtimes(filepath.Join(a.Path(), string(key)), epoch, epoch); err != nil {
			t.Fatal(err)
		}
	}
	m := &mirror.Mirror{Source: a, Dest: b, State: filepath.Join(t.TempDir(), "state")}
	for range 3 {
		mustRun(t, m)
	}
	edit(t, a, record, func(text []byte) {
		text[bytes.LastIndex(text, []byte("test-1:"))+len("test-1:")]++
	})
	mustRun(t, m)
	treetest.Equal(t, a, b)
	mustRun(t, m)
	edit(t, b, "index.html", func(text []byte) { text[0]++ })
	mustRun(t, m)
	treetest.Equal(t, a, b)
}

// With Content every byte is compared. Damage at the destination is mended, that
// of NARs too; damage in the source spreads nowhere.
func TestMirrorContent(t *testing.T) {
	src, dst := treetest.Source(t), treetest.NewMem(t)
	state := filepath.Join(t.TempDir(), "state")
	plain := &mirror.Mirror{Source: src, Dest: dst, State: state}
	content := &mirror.Mirror{Source: src, Dest: dst, State: state, Content: true}
	for range 2 {
		mustRun(t, plain)
	}
	good := treetest.Contents(t, src)
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
		return b
	}
	nar := treetest.Record(t, src, "app").URL
	rot := func(tree *treetest.Mem, keys ...layout.Key) {
		for _, key := range keys {
			tree.Rot(key, flip)
		}
	}
	rot(dst, layout.Key(nar), "index.html", layout.NarInfoKey(treetest.Record(t, src, "app").Path))
	mustRun(t, plain)
	if treetest.Contents(t, dst)[layout.Key(nar)] == good[layout.Key(nar)] {
		t.Error("a NAR of the right size was read without need")
	}
	for change, err := range content.Plan(t.Context()) {
		if err != nil || change.Action != mirror.ActionReplace {
			t.Errorf("planned: %+v, %v", change, err)
		}
	}
	mustRun(t, content)
	treetest.Equal(t, src, dst)
	whole(t, dst)

	rot(src, layout.Key(nar))
	var incomplete *mirror.IncompleteError
	if err := content.Run(t.Context()); !errors.As(err, &incomplete) {
		t.Errorf("with a damaged source: %v", err)
	}
	if treetest.Contents(t, dst)[layout.Key(nar)] != good[layout.Key(nar)] {
		t.Error("the damaged NAR was copied over the good one")
	}
	whole(t, dst)
}

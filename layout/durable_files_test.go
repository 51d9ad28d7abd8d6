package layout

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// A batch may have more files than the process may have open: one path can have
// thousands of debug links.
func TestPutBatchOfManyFiles(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	few(t)
	var group []Object
	for i := range 400 {
		group = append(group, Object{Key: Key(fmt.Sprintf("debuginfo/%040x", i)), Body: Bytes([]byte("{}"))})
	}
	last := []Object{{Key: "nix-cache-info", Body: Bytes([]byte("StoreDir: /nix/store\n"))}}
	if _, err := d.PutBatch(t.Context(), group, last); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range d.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != len(group)+len(last) {
		t.Errorf("%d files are there, want %d", n, len(group)+len(last))
	}
}

// few lets the process open few files.
func few(t *testing.T) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 128
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
}

// A tree has more folders in time than a process may have open, one for each run and for
// each derivation with outputs by content.
func TestPutIntoManyFolders(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	few(t)
	var group []Object
	for i := range 300 {
		list := Key(fmt.Sprintf("%smain/@run-%d/%026d-0000", RootsPrefix, i, i))
		if err := d.Put(t.Context(), list, Bytes([]byte("{}")), PutOptions{}); err != nil {
			t.Fatal(err)
		}
		group = append(group, Object{Key: Key(fmt.Sprintf("build-trace-v2/%032d-x.drv/out.doi", i)), Body: Bytes([]byte("{}"))})
	}
	if _, err := d.PutBatch(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if open := len(d.folders); open > mostFolders {
		t.Errorf("%d folders are open", open)
	}
	n := 0
	for _, err := range d.List(t.Context(), "build-trace-v2/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != len(group) {
		t.Errorf("%d files are there, want %d", n, len(group))
	}
}

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
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 128
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
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

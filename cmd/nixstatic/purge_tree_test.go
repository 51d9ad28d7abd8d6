package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A client that sends its NARs again and again does not have others told of each.
func TestResentNARs(t *testing.T) {
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	tree := &toldDir{dir, &purger{resent: share.NewBudget(3, time.Hour), keys: map[layout.Key]bool{}}}
	send := func(c share.Client, n int, name string) {
		t.Helper()
		for i := range n {
			if err := tree.Put(share.As(t.Context(), c), layout.Key(fmt.Sprintf(name, i)), layout.Bytes([]byte("x")), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range map[string]int{"nar/a%d.nar": 3, "%032d.narinfo": 10} {
		clear(tree.purger.keys)
		send("mallory", 10, name)
		if n := len(tree.purger.keys); n != want {
			t.Errorf("others are told of %d of 10 %s, want %d", n, name, want)
		}
	}
	for _, c := range []share.Client{"alice", ""} { // the last is a command
		clear(tree.purger.keys)
		if send(c, 3, "nar/b%d.nar"); len(tree.purger.keys) != 3 {
			t.Errorf("client %q: others are told of %d of 3", c, len(tree.purger.keys))
		}
	}
	if send("", 10, "nar/c%d.nar"); len(tree.purger.keys) != 13 {
		t.Errorf("others are told of %d NARs of a command, want 10", len(tree.purger.keys)-3)
	}
}

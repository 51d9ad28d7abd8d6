//go:build linux && real

package crash

import (
	"crypto/sha256"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A disk knows what a file system owes a program that made some calls, and owes
// it no more than POSIX says: the content of a file is on disk after an fsync of
// the file, and a name after an fsync of its directory. Anything that was not
// synced may be there or not, each piece for itself, in any order.
type disk struct {
	root *node
	// The instants at which something comes or goes outside of staging: before
	// they are in the tree, it does not matter what is left of files.
	instants []int
	end      int // the last instant: beginnings and ends of calls are the instants
}

// A node is a file or a directory.
type node struct {
	names  map[string][]version // of a directory; nil for a file
	writes []span
	syncs  []span
	bytes  *content // of a file, if anyone can still read it
}

// A content is bytes and their digest.
type content struct{ text, sum string }

// A span is the time from the beginning of a call to its end. Its effect happens
// somewhere in between.
type span struct{ enter, exit int }

// A version is what a name stood for from some instant on.
type version struct {
	span
	node *node // nil for nothing
}

// newDisk returns a disk that holds what is in a directory, durably.
func newDisk(t testing.TB, dir string) *disk {
	t.Helper()
	d := &disk{}
	d.root = d.load(t, dir)
	return d
}

// run follows the calls of one more run, which left what is in a directory now.
func (d *disk) run(t testing.TB, calls []call, dir string) {
	t.Helper()
	start := d.end
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b call) int { return a.Exit - b.Exit })
	for _, c := range calls {
		c.Enter, c.Exit = c.Enter+start, c.Exit+start
		d.end = max(d.end, c.Exit)
		if c.Errno == 0 {
			d.follow(t, c)
		}
		if !c.staging() {
			d.instants = append(d.instants, c.Enter, c.Exit)
		}
	}
	d.compare(t, d.root, dir)
}

// load takes a directory as it is for durable.
func (d *disk) load(t testing.TB, dir string) *node {
	t.Helper()
	n := &node{}
	n.names = map[string][]version{}
	for _, entry := range list(t, dir) {
		file := filepath.Join(dir, entry.Name())
		var child *node
		if entry.IsDir() {
			child = d.load(t, file)
		} else {
			child = &node{}
			child.bytes = read(t, file)
		}
		n.names[entry.Name()] = []version{{node: child}}
	}
	return n
}

// follow does what a call did.
func (d *disk) follow(t testing.TB, c call) {
	t.Helper()
	when := span{c.Enter, c.Exit}
	switch c.Name {
	case "mkdirat":
		n := &node{}
		n.names = map[string][]version{}
		d.set(t, c.Path, when, n)
	case "openat":
		if d.at(c.Path) == nil {
			d.set(t, c.Path, when, &node{})
		}
	case "ftruncate", "write", "pwrite64", "writev", "pwritev", "copy_file_range", "sendfile", "splice":
		n := d.there(t, c.Path)
		n.writes = append(n.writes, when)
	case "fsync", "fdatasync":
		n := d.there(t, c.Path)
		n.syncs = append(n.syncs, when)
	case "renameat", "renameat2":
		n := d.there(t, c.Path)
		if c.Bytes != nil {
			n.bytes = c.Bytes
		}
		d.set(t, c.Path, when, nil)
		d.set(t, c.To, when, n)
	case "linkat":
		d.set(t, c.To, when, d.there(t, c.Path))
	case "unlinkat":
		d.set(t, c.Path, when, nil)
	default:
		t.Fatalf("the model of the disk does not know what this does: %v", c)
	}
}

// at returns what a path stands for in the end of what was followed, or nil.
func (d *disk) at(name string) *node {
	n := d.root
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		if part == "." {
			continue
		}
		versions := n.names[part]
		if len(versions) == 0 || versions[len(versions)-1].node == nil {
			return nil
		}
		n = versions[len(versions)-1].node
	}
	return n
}

func (d *disk) there(t testing.TB, name string) *node {
	t.Helper()
	n := d.at(name)
	if n == nil {
		t.Fatalf("the model of the disk has no %s", name)
	}
	return n
}

func (d *disk) set(t testing.TB, name string, when span, n *node) {
	t.Helper()
	dir, base := d.there(t, path.Dir(name)), path.Base(name)
	if len(dir.names[base]) == 0 {
		dir.names[base] = []version{{}}
	}
	dir.names[base] = append(dir.names[base], version{when, n})
}

// compare demands that the model has by now what there is, and learns where the
// bytes are.
func (d *disk) compare(t testing.TB, n *node, dir string) {
	t.Helper()
	var have, want []string
	for _, entry := range list(t, dir) {
		have = append(have, entry.Name())
	}
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		child := n.names[name][len(n.names[name])-1].node
		if child == nil {
			continue
		}
		want = append(want, name)
		file := filepath.Join(dir, name)
		if child.names != nil {
			d.compare(t, child, file)
		} else {
			child.bytes = read(t, file)
		}
	}
	if !slices.Equal(have, want) {
		t.Fatalf("the model of the disk has %q in %s, the disk has %q", want, dir, have)
	}
}

// possible returns what a name may stand for if the power goes at an instant:
// first what it stands for if nothing is there that need not be.
func (n *node) possible(name string, instant int) []version {
	synced := lastSync(n.syncs, instant)
	versions := n.names[name]
	first := 0
	for i, v := range versions {
		if v.exit < synced {
			first = i
		}
	}
	last := first
	for last+1 < len(versions) && versions[last+1].enter <= instant {
		last++
	}
	return versions[first : last+1]
}

// whole reports whether all that was written into a file by an instant is on
// disk.
func (n *node) whole(instant int) bool {
	synced := lastSync(n.syncs, instant)
	for _, w := range n.writes {
		if w.enter <= instant && w.exit >= synced {
			return false
		}
	}
	return true
}

// lastSync returns when the last sync began that had ended by an instant.
// Before all calls everything was synced, which instant 1 stands for.
func lastSync(syncs []span, instant int) int {
	last := 1
	for _, s := range syncs {
		if s.exit <= instant {
			last = max(last, s.enter)
		}
	}
	return last
}

func list(t testing.TB, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func read(t testing.TB, file string) *content {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return newContent(text)
}

func newContent(text []byte) *content {
	sum := sha256.Sum256(text)
	return &content{string(text), string(sum[:])}
}

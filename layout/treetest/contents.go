package treetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// OpenDir opens a directory as a tree until the test ends.
func OpenDir(tb testing.TB, name string) *layout.Dir {
	tb.Helper()
	dir, err := layout.OpenDir(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dir.Close() })
	return dir
}

// PutText puts an object, whatever is there.
func PutText(tb testing.TB, tree layout.Tree, key layout.Key, text string) {
	tb.Helper()
	if err := tree.Put(context.Background(), key, layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// Contents returns what a tree has, of the private keys only those that tell
// what it leans on.
func Contents(tb testing.TB, tree layout.Tree) map[layout.Key]string {
	tb.Helper()
	all := map[layout.Key]string{}
	for _, prefix := range []string{layout.ProvisionsPrefix, ""} {
		for info, err := range tree.List(context.Background(), prefix) {
			if err != nil {
				tb.Fatal(err)
			}
			text, err := layout.ReadAll(context.Background(), tree, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since it was listed
			}
			if err != nil {
				tb.Fatal(err)
			}
			all[info.Key] = string(text)
		}
	}
	return all
}

// Texts returns what is in the objects of a realisation.
func Texts(tb testing.TB, r layout.Realisation) map[layout.Key]string {
	tb.Helper()
	objects, err := r.Objects()
	if err != nil {
		tb.Fatal(err)
	}
	texts := map[layout.Key]string{}
	for _, o := range objects {
		text, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Body.Size()))
		if err != nil {
			tb.Fatal(err)
		}
		texts[o.Key] = string(text)
	}
	return texts
}

// Provided reports what upstreams provide for a tree, for fsck.
func Provided(tb testing.TB, tree layout.Tree) func(context.Context, layout.StorePath) (bool, error) {
	tb.Helper()
	provision, err := layout.ReadProvision(context.Background(), tree, layout.DefaultStoreDir)
	if err != nil {
		tb.Fatal(err)
	}
	return provision.Provides
}

// Equal fails the test unless two trees have the same contents.
func Equal(tb testing.TB, want, got layout.Tree) {
	tb.Helper()
	if diff := cmp.Diff(Contents(tb, want), Contents(tb, got)); diff != "" {
		tb.Errorf("the trees differ (-want +got):\n%s", diff)
	}
}

// Records yields the narinfos of a tree.
func Records(tb testing.TB, tree layout.Tree) iter.Seq[*layout.NarInfo] {
	return func(yield func(*layout.NarInfo) bool) {
		for info, err := range tree.List(context.Background(), "") {
			if err != nil {
				tb.Fatal(err)
			}
			if info.Key.Kind() != layout.KindNarInfo {
				continue
			}
			text, err := layout.ReadAll(context.Background(), tree, info.Key)
			if err != nil {
				tb.Fatal(err)
			}
			n, err := layout.ParseNarInfo(text, "")
			if err != nil {
				tb.Fatal(err)
			}
			if !yield(n) {
				return
			}
		}
	}
}

// Record returns the narinfo of the path with a name.
func Record(tb testing.TB, tree layout.Tree, name string) *layout.NarInfo {
	tb.Helper()
	for n := range Records(tb, tree) {
		if n.Path.Name() == name {
			return n
		}
	}
	tb.Fatalf("no path %s", name)
	return nil
}

// Withdraw removes a path as a garbage collection does: all of it but a NAR that
// another path has as well.
func Withdraw(tb testing.TB, tree layout.Tree, name string) {
	tb.Helper()
	n := Record(tb, tree, name)
	keys := []layout.Key{layout.NarInfoKey(n.Path), layout.ListingKey(n.Path), layout.Key(n.URL)}
	for r := range Records(tb, tree) {
		if r.Path != n.Path && r.URL == n.URL {
			keys = slices.Delete(keys, 2, 3)
			break
		}
	}
	for _, key := range keys {
		if err := tree.Delete(context.Background(), key); err != nil {
			tb.Fatal(err)
		}
	}
}

// LeanOn makes a tree one that leans on an upstream: paths are withdrawn, and
// the upstream's record of each is left, signed by key. Whether others refer to
// them is the caller's choice.
func LeanOn(tb testing.TB, tree layout.Tree, key signer.SecretKey, names ...string) {
	tb.Helper()
	err := layout.RecordUpstreams(context.Background(), tree, []layout.RecordedUpstream{
		{URL: "https://" + key.Name() + ".example.org", Keys: []string{key.Public().String()}}})
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		n := Record(tb, tree, name)
		sig, err := key.Sign(n.Fingerprint(layout.DefaultStoreDir))
		if err != nil {
			tb.Fatal(err)
		}
		n.Sigs = []string{sig}
		PutText(tb, tree, layout.ProvisionKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
		Withdraw(tb, tree, name)
	}
}

// Bloat returns a narinfo of size bytes: with signatures that no key has made.
func Bloat(narinfo []byte, size int) []byte {
	const tail = ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"
	for i := 0; ; i++ {
		name := fmt.Sprintf("Sig: junk-%d-", i)
		room := size - len(narinfo) - len(name) - len(tail)
		if room < 0 {
			return narinfo
		}
		pad := min(room, 240)
		if rest := room - pad; rest > 0 && rest < 120 {
			pad -= 120 // and leave enough for the last one
		}
		narinfo = fmt.Appendf(narinfo, "%s%s%s", name, strings.Repeat("x", pad), tail)
	}
}

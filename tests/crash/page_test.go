//go:build linux && real

package crash

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// Each call by which an export into a tree with a page makes, names or removes a file, up
// to the last of the page, is the last one, or fails, and so is every third of the others,
// of which no reader sees a trace. The tree and each file of the page are whole at that instant, and the
// next export, which has nothing else to do, brings the page up to date.
func TestPageFaults(t *testing.T) {
	p := newRunner(t)
	store := peers.Closure(t)
	before := scratch(t)
	p.Output(t, "init", filepath.Join(before, "tree"))
	p.Output(t, "export", "--store", store.Root, "--to", filepath.Join(before, "tree"), store.Named(t, "libaudit-common-"))
	args := func(dir string) []string {
		return []string{"export", "--store", store.Root, "--to", filepath.Join(dir, "tree"), store.Named(t, "libgcc-s1-")}
	}
	plain := scratch(t)
	copyTree(t, plain, before)
	run := watch{Dir: plain}.run(t, p.Command(t, args(plain)...))
	run.Want(t, 0)
	want := p.shown(t, filepath.Join(plain, "tree"))
	if old := p.shown(t, filepath.Join(before, "tree")); want.paths <= old.paths || slices.Equal(want.found, old.found) {
		t.Fatalf("the page has %v, and had %v", want, old)
	}
	for at := 1; at <= len(run.Calls)+slack; at++ {
		if at <= len(run.Calls) && !run.Calls[at-1].naming() && at%3 != 0 {
			continue
		}
		for _, f := range faultsAt(run.Calls, at, true) {
			t.Run(fmt.Sprintf("%d %v", at, f), func(t *testing.T) {
				t.Parallel()
				dir := scratch(t)
				copyTree(t, dir, before)
				tree := filepath.Join(dir, "tree")
				run := watch{Dir: dir, Fault: f}.run(t, p.Command(t, args(dir)...))
				p.verdict(t, tree, leftovers, nil)
				if now := p.shown(t, tree); now.index != want.index && !strings.HasSuffix(strings.TrimSpace(now.index), "</html>") {
					t.Errorf("%v of %v: the page is torn", f, run.Hit)
				}
				p.Run(t, args(dir)...).Want(t, 0)
				now := p.shown(t, tree)
				if diff := cmp.Diff(want.found, now.found); diff != "" || now.paths != want.paths {
					t.Errorf("%v of %v, then another run: the page counts %d paths, want %d; its search (-want +got):\n%s", f, run.Hit, now.paths, want.paths, diff)
				}
				if _, err := os.Stat(filepath.Join(tree, ".nixstatic/page-behind")); err == nil {
					t.Errorf("%v of %v: the page counts as behind", f, run.Hit)
				}
			})
		}
	}
}

// A display is what the page of a tree shows.
type display struct {
	index string
	paths int      // by stats.json
	found []string // by the search index
}

func (p runner) shown(t testing.TB, tree string) (d display) {
	t.Helper()
	for name, use := range map[string]func([]byte) error{
		"index.html": func(text []byte) error { d.index = string(text); return nil },
		"stats.json": func(text []byte) error {
			var stats struct{ Paths int }
			err := json.Unmarshal(text, &stats)
			d.paths = stats.Paths
			return err
		},
	} {
		text, err := os.ReadFile(filepath.Join(tree, name))
		if err == nil {
			err = use(text)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, list := range []string{"hashes.json", "names.json"} {
		text, err := os.ReadFile(filepath.Join(tree, "search", list))
		if err != nil {
			t.Fatal(err)
		}
		var table struct{ Shards [][]any }
		if err := json.Unmarshal(text, &table); err != nil {
			t.Fatalf("%s: %v\n%s", list, err, text)
		}
		for _, shard := range table.Shards {
			text, err := os.ReadFile(filepath.Join(tree, "search", shard[1].(string)+".txt"))
			if err != nil {
				t.Fatal(err) // the list leads nowhere
			}
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				d.found = append(d.found, list+" "+strings.Join(words[:2], " ")) // without times
			}
		}
	}
	slices.Sort(d.found)
	return d
}

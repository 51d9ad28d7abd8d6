package pages

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// record makes the record of a path whose hash depends on a number.
func record(n int, name string) Record {
	hash := digest(fmt.Append(nil, n))[:hashLen]
	return Record{Path: layout.StorePath(hash + "-" + name), NarSize: int64(n) + 200, FileSize: int64(n) + 100, Time: time.Unix(1893456000+int64(n), 0).UTC()}
}

// store is what a table's shards are read from, and written to.
type store map[layout.Key][]byte

func (s store) read(key layout.Key) ([]byte, error) {
	if text, ok := s[key]; ok {
		return text, nil
	}
	return nil, fs.ErrNotExist
}

func (s store) apply(t *testing.T, k kind, have *table, edits []edit) *table {
	t.Helper()
	next, written, err := have.change(k, sortEdits(edits), time.Unix(1, 0), s.read)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(s, written)
	// Both forms of the list are one.
	text, err := next.marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseTable(text)
	if err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return again
}

// lines returns all lines of a table, and checks what a browser relies upon.
func (s store) lines(t *testing.T, k kind, have *table) (all []string) {
	t.Helper()
	for i, shard := range have.Shards {
		lines, err := k.load(shard, s.read)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s[k.shard(shard.name)]); n > shardMost+4096 {
			t.Errorf("a shard has %d bytes", n)
		}
		if len(lines) != shard.lines {
			t.Errorf("a shard has %d lines, not %d", len(lines), shard.lines)
		}
		if i > 0 && k.key(lines[0]) < shard.from {
			t.Errorf("a shard from %q begins with %q", shard.from, lines[0])
		}
		if i > 0 && k.key(all[len(all)-1]) >= shard.from {
			t.Errorf("%q is in the shard before that from %q", all[len(all)-1], shard.from)
		}
		all = append(all, lines...)
	}
	if !slices.IsSortedFunc(all, func(a, b string) int { return strings.Compare(k.key(a), k.key(b)) }) {
		t.Error("the table is out of order")
	}
	return all
}

// TestTable changes a table at random, and a set beside it.
func TestTable(t *testing.T) {
	hashes, names := tables(false)
	for _, k := range []kind{hashes, names} {
		rng := rand.New(rand.NewPCG(1, 2))
		files, have, want := store{}, &table{Version: tableVersion}, map[string]bool{}
		for round := range 24 / quick.Step(2) {
			var edits []edit
			size := []int{1, 30, 1500}[rng.IntN(3)]
			shrink := round%10 > 6
			for range size {
				r := record(rng.IntN(6000), []string{"hello-2.12", "Python3.12-requests", "source", "a-b-c-d-e-f-g-h-i"}[rng.IntN(4)])
				r = record(int(r.NarSize-200), []string{"hello-2.12", "Python3.12-requests", "source", "a-b-c-d-e-f-g-h-i"}[r.NarSize%4])
				lines := []string{r.line()}
				if k.name == names.name {
					lines = wordLines(r)
				}
				for _, line := range lines {
					remove := shrink || rng.IntN(4) == 0
					edits = append(edits, edit{k.key(line), line, remove})
				}
			}
			for _, e := range sortEdits(slices.Clone(edits)) {
				if e.remove {
					delete(want, e.line)
				} else {
					want[e.line] = true
				}
			}
			before := len(files)
			have = files.apply(t, k, have, edits)
			if size == 1 && len(files)-before > 3*maxWords {
				t.Errorf("one path wrote %d shards", len(files)-before)
			}
			got := files.lines(t, k, have)
			slices.Sort(got)
			if diff := gocmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" {
				t.Fatalf("%s, round %d: %.2000s", k.name, round, diff)
			}
		}
	}
}

// TestRetired checks that a shard stays for an hour after the last list that named it.
func TestRetired(t *testing.T) {
	hashes, _ := tables(false)
	files := store{}
	one, two := record(1, "one"), record(2, "two")
	first := files.apply(t, hashes, &table{Version: tableVersion}, []edit{{hashOf(one.line()), one.line(), false}})
	second := files.apply(t, hashes, first, []edit{{hashOf(two.line()), two.line(), false}})
	if keys := second.due(hashes, time.Unix(1, 0).Add(keepRetired)); len(keys) != 0 {
		t.Errorf("removed at once: %v", keys)
	}
	if keys := second.due(hashes, time.Unix(2, 0).Add(keepRetired)); len(keys) != 1 || keys[0] != hashes.shard(first.Shards[0].name) {
		t.Errorf("removed: %v", keys)
	}
	if len(second.Retired) != 0 {
		t.Errorf("still retired: %v", second.Retired)
	}
	// A shard that is wanted again is not retired.
	third := files.apply(t, hashes, files.apply(t, hashes, first, []edit{{hashOf(two.line()), two.line(), false}}), []edit{{hashOf(two.line()), two.line(), true}})
	if len(third.Shards) != 1 || third.Shards[0] != first.Shards[0] || len(third.Retired) != 1 {
		t.Errorf("there and back: %v", third)
	}
}

// TestBound checks how much of the index of a million paths a browser fetches for a
// query: a list, and three shards at most. The list of ten times as many paths is ten
// times as long; tests/bench makes it.
func TestBound(t *testing.T) {
	paths := 100_000 / quick.Step(4)
	hashes, names := tables(false)
	var lines, words []edit
	for n := range paths {
		r := record(n, fmt.Sprintf("python3.12-package%d-1.%d.%d", n%50_000, n%17, n%5))
		lines = append(lines, edit{hashOf(r.line()), r.line(), false})
		for _, line := range wordLines(r) {
			words = append(words, edit{names.key(line), line, false})
		}
	}
	none := func(layout.Key) ([]byte, error) { return nil, fs.ErrNotExist }
	for _, test := range []struct {
		kind   kind
		edits  []edit
		shards int
	}{{hashes, lines, 2}, {names, words, 3}} {
		made, written, err := (&table{Version: tableVersion}).change(test.kind, sortEdits(test.edits), time.Unix(0, 0), none)
		if err != nil {
			t.Fatal(err)
		}
		list, err := made.marshal()
		if err != nil {
			t.Fatal(err)
		}
		largest := 0
		for _, text := range written {
			largest = max(largest, len(text))
		}
		t.Logf("%s: %d shards of %d bytes at most, a list of %d", test.kind.name, len(written), largest, len(list))
		if sum := 1_000_000/paths*len(list) + test.shards*largest; sum > 300_000 {
			t.Errorf("%s: %d bytes for a query", test.kind.name, sum)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add([]byte(`{"version":1,"shards":[["","0123456789abcdfg",2],["b","1123456789abcdfg",1]],"retired":[["2123456789abcdfg",5]],"totals":{"paths":3}}`))
	f.Add([]byte(`{"version":1,"shards":[["",1]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		have, err := parseTable(text)
		if err != nil {
			return
		}
		again, err := have.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseTable(again); err != nil {
			t.Fatalf("%q is not read again: %v", again, err)
		}
		for _, s := range have.Shards {
			hashes, _ := tables(false)
			if hashes.shard(s.name).Kind() != layout.KindPage {
				t.Fatalf("a shard at %q", s.name)
			}
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add(record(1, "hello-2.12").line())
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseLine(line)
		if err != nil {
			return
		}
		if again, err := parseLine(r.line()); err != nil || again != r {
			t.Fatalf("%q: %v, %v", r.line(), again, err)
		}
	})
}

// wordLines are a record's lines in the table of names.
func wordLines(r Record) (lines []string) {
	r.words(func(begin int) { lines = append(lines, r.wordLine(begin)) })
	return lines
}

// Parts of a change have all of it, in order, and no hash is in two of them.
func TestParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var c Change
		last := map[string]Record{}
		gone := map[layout.StorePath]bool{}
		for range rng.IntN(40) {
			r := record(rng.IntN(30), "a")
			r.NarSize = int64(rng.IntN(100))
			c.Came = append(c.Came, r)
			last[r.Path.Hash()] = r
		}
		for range rng.IntN(40) {
			r := record(rng.IntN(30), "a")
			c.Gone = append(c.Gone, r.Path)
			gone[r.Path] = true
		}
		end := ""
		for _, part := range c.parts(2 + rng.IntN(12)) {
			next := end
			for _, r := range part.Came {
				if last[r.Path.Hash()].NarSize == r.NarSize {
					delete(last, r.Path.Hash())
				}
				if r.Path.Hash() <= end {
					t.Fatalf("%s is behind %s", r.Path, end)
				}
				next = max(next, r.Path.Hash())
			}
			for _, p := range part.Gone {
				if delete(gone, p); p.Hash() <= end {
					t.Fatalf("%s is behind %s", p, end)
				}
				next = max(next, p.Hash())
			}
			if next == end {
				t.Fatal("a part of nothing")
			}
			end = next
		}
		if len(last)+len(gone) > 0 {
			t.Errorf("left out: %v, %v", last, gone)
		}
	}
}

// The edits of words are in the order of a table of names, whatever is in one part.
func TestWordEdits(t *testing.T) {
	_, names := tables(false)
	d := difference{}
	want := map[string]bool{} // whether it is removed
	for n := range 300 {
		r := record(n, fmt.Sprintf("Lib%c-%d-Foo-bar%d", 'A'+n%26, n%7, n%3))
		if n%3 > 0 {
			d.gone = append(d.gone, r)
			r.words(func(begin int) { want[r.wordLine(begin)] = true })
		}
	}
	for n := range 300 {
		if r := record(n, fmt.Sprintf("Lib%c-%d-Foo-bar%d", 'A'+n%26, n%7, n%3)); n%3 < 2 {
			d.came = append(d.came, r)
			r.words(func(begin int) { want[r.wordLine(begin)] = false })
		}
	}
	last := ""
	for edits := range wordEdits(d, names, 64) {
		for _, e := range edits {
			if e.key <= last || e.key != names.key(e.line) {
				t.Fatalf("%q is behind %q", e.key, last)
			}
			if remove, ok := want[e.line]; !ok || remove != e.remove {
				t.Errorf("%q: removed %v, %v", e.line, e.remove, ok)
			}
			delete(want, e.line)
			last = e.key
		}
	}
	if len(want) > 0 {
		t.Errorf("left out: %v", want)
	}
}

// A list that is sorted on several processors has the order that one of them gives.
func TestSortSideBySide(t *testing.T) {
	for _, jobs := range []int{1, 2, 3, 8} {
		for name, of := range map[string]func(n int) int{
			"any": func(n int) int { return n * 7919 % 50_021 }, "in order": func(n int) int { return n },
			"backwards": func(n int) int { return -n }, "the same": func(int) int { return 1 }, "few": func(n int) int { return n % 3 },
		} {
			list := make([]int, 50_000)
			for n := range list {
				list[n] = of(n)
			}
			want := slices.Sorted(slices.Values(list))
			if sortSideBySide(list, jobs, cmp.Compare); !slices.Equal(list, want) {
				t.Errorf("%s, %d jobs: not in order", name, jobs)
			}
		}
	}
}

// The newest paths are the same, in whatever order they come and in however many changes.
func TestNewest(t *testing.T) {
	var all []Record
	for n := range 300 {
		r := record(n, "x")
		r.Time = time.Unix(int64(n*37%101)*86400, 0).UTC()
		all = append(all, r)
	}
	sorted := slices.SortedFunc(slices.Values(all), byAge)
	var want []string
	for _, r := range sorted[:shown] {
		want = append(want, r.line())
	}
	months := map[string]Size{}
	for _, r := range all {
		month := r.Time.Format("2006-01")
		months[month] = months[month].plus(r, 1)
	}
	for _, step := range []int{1, 7, 300} {
		for name, list := range map[string][]Record{"any": all, "newest first": sorted} {
			var sums *totals
			for part := range slices.Chunk(list, step) {
				sums = sums.after(part, nil)
			}
			if diff := gocmp.Diff(&totals{Size: sums.Size, Months: months, Newest: want}, sums); diff != "" || sums.Paths != 300 {
				t.Errorf("%s, %d at once (-want +got):\n%s", name, step, diff)
			}
		}
	}
}

// sortEdits puts edits in order. An edit that adds counts for more than an edit of
// the same key that removes.
func sortEdits(edits []edit) []edit {
	slices.SortFunc(edits, func(a, b edit) int {
		if c := strings.Compare(a.key, b.key); c != 0 || a.remove == b.remove {
			return c
		}
		if a.remove {
			return 1
		}
		return -1
	})
	return slices.CompactFunc(edits, func(a, b edit) bool { return a.key == b.key })
}

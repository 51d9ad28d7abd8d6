package roots

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func hashOf(n int) string { return fmt.Sprintf("%032d", n) }

func run(t *testing.T, text string) layout.RunID {
	t.Helper()
	root, name, _ := strings.Cut(text, "@")
	id, err := layout.MakeRunID(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func note(t *testing.T, r *Recorder, id layout.RunID, numbers ...int) {
	t.Helper()
	var hashes []string
	for _, n := range numbers {
		hashes = append(hashes, hashOf(n))
	}
	if err := r.Note(t.Context(), id, hashes...); err != nil {
		t.Fatal(err)
	}
}

// members returns how often each path is in the lists of the only generation of a
// tree.
func members(t *testing.T, tree layout.Lister) map[string]int {
	t.Helper()
	all, err := Read(t.Context(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("%d generations", len(all))
	}
	have := map[string]int{}
	for _, l := range all[0].Lists {
		for _, id := range l.Members {
			have[id.Hash()]++
		}
	}
	return have
}

func TestNote(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	a, b := NewRecorder(dir), NewRecorder(dir)
	id := run(t, "acme/app/main@run-1")
	note(t, a, id, 1, 2)
	note(t, a, id, 2, 3)
	note(t, b, id, 3, 4) // another server
	want := map[string]int{hashOf(1): 1, hashOf(2): 1, hashOf(3): 2, hashOf(4): 1}
	if diff := cmp.Diff(want, members(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	all, err := Read(t.Context(), dir, nil)
	if err != nil || len(all[0].Lists) != 2 || all[0].ID != id || all[0].Begun.After(all[0].Renewed) {
		t.Errorf("%+v, %v", all, err)
	}
	a.Close()
	b.Close()
}

// Generations come newest first, by when their first entry was made.
func TestReadOrder(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	r := NewRecorder(dir)
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.now = func() time.Time { clock = clock.Add(time.Hour); return clock }
	for _, text := range []string{"b@2", "a@9", "b@1", "a/c@1"} {
		note(t, r, run(t, text), 1)
	}
	note(t, r, run(t, "b@2"), 2)
	all, err := Read(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range all {
		got = append(got, g.ID.String())
	}
	if diff := cmp.Diff([]string{"a@9", "a/c@1", "b@1", "b@2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Members that are of no interest take no memory.
func TestReadAmong(t *testing.T) {
	tree := treetest.NewMem(t)
	r := NewRecorder(tree)
	var numbers []int
	for n := range 100 {
		numbers = append(numbers, n)
	}
	note(t, r, run(t, "acme@1"), numbers...)
	wanted := refgraph.PackPath(hashOf(7))
	all, err := Read(t.Context(), tree, func(id refgraph.PathID) bool { return id == wanted })
	if err != nil {
		t.Fatal(err)
	}
	if got := all[0].Lists[0].Members; len(got) != 1 || got[0] != wanted || cap(got) > 8 {
		t.Errorf("%v, with room for %d", got, cap(got))
	}
}

// Notes that come side by side are written together, and all of them before any
// answer.
func TestNoteTogether(t *testing.T) {
	tree := treetest.NewMem(t)
	r := NewRecorder(tree)
	id := run(t, "acme@1")
	var wg sync.WaitGroup
	const many = 2*listMembers + 100
	for n := range many {
		wg.Go(func() {
			if err := r.Note(t.Context(), id, hashOf(n)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	have := members(t, tree)
	if len(have) != many {
		t.Errorf("%d of %d paths are listed", len(have), many)
	}
	for hash, n := range have {
		if n != 1 {
			t.Errorf("%s is listed %d times", hash, n)
		}
	}
}

// A failure is an answer, and what comes next is written.
func TestNoteFails(t *testing.T) {
	tree := &treetest.Faulty{Tree: treetest.NewMem(t), Fault: treetest.Fault{At: 1, Only: func(op treetest.Op, _ layout.Key) bool { return op == treetest.OpPut }}}
	r := NewRecorder(tree)
	id := run(t, "acme@1")
	if err := r.Note(t.Context(), id, hashOf(1)); err == nil {
		t.Error("it failed, and was taken for done")
	}
	note(t, r, id, 1)
	if have := members(t, tree); have[hashOf(1)] != 1 {
		t.Errorf("%v", have)
	}
}

// When something was removed from the tree, so may the list have been.
func TestNoteAfterARemoval(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	r := NewRecorder(dir)
	id := run(t, "acme@1")
	note(t, r, id, 1)
	infos, err := Infos(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	leave, err := layout.Exclude(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(t.Context(), layout.PlanKey, layout.Bytes([]byte(`{"nonce":"x"}`)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := dir.Delete(t.Context(), infos[0].Key); err != nil {
		t.Fatal(err)
	}
	leave()
	note(t, r, id, 1)
	if have := members(t, dir); have[hashOf(1)] != 1 {
		t.Errorf("%v", have)
	}
}

// A client can neither fill the tree with runs nor the memory of the server, and
// costs another client nothing.
func TestNoteIsBounded(t *testing.T) {
	tree := treetest.NewMem(t)
	r := NewRecorder(tree)
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.now = func() time.Time { return day }
	mallory, alice := share.As(t.Context(), "mallory"), share.As(t.Context(), "alice")
	if err := r.Note(alice, run(t, "a@1"), hashOf(1)); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil && n < dailyRuns+10; n++ {
		err = r.Note(mallory, run(t, fmt.Sprintf("m@%d", n)), hashOf(n))
	}
	if !errors.Is(err, layout.ErrTooManyRuns) || n != dailyRuns+1 {
		t.Errorf("after %d runs: %v", n, err)
	}
	if len(r.open) > maxOpen/2+1 {
		t.Errorf("%d runs are remembered", len(r.open))
	}
	if r.open[legID{run(t, "a@1"), "alice"}] == nil {
		t.Error("the run of another client was forgotten")
	}
	for _, ctx := range []context.Context{alice, share.As(t.Context(), "bob")} {
		if err := r.Note(ctx, run(t, "b@1"), hashOf(1)); err != nil {
			t.Errorf("another client: %v", err)
		}
	}
	day = day.AddDate(0, 0, 1)
	if err := r.Note(mallory, run(t, "m@x"), hashOf(1)); err != nil {
		t.Errorf("on the next day: %v", err)
	}
}

// A slowTree writes when it is let, and knows how many at most wait for that.
type slowTree struct {
	layout.Tree
	let chan struct{}

	mu        sync.Mutex
	now, most int
}

func (s *slowTree) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	<-s.let
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return s.Tree.Put(ctx, key, body, opts)
}

// Requests that are given up leave few lists behind that are being written, and another client
// has its turn among them.
func TestNotesThatAreGivenUp(t *testing.T) {
	tree := &slowTree{Tree: treetest.NewMem(t), let: make(chan struct{})}
	r := NewRecorder(tree)
	ctx, leave := context.WithCancel(share.As(t.Context(), "mallory"))
	var requests sync.WaitGroup
	for n := range 10 * maxWriting {
		requests.Go(func() {
			if err := r.Note(ctx, run(t, fmt.Sprintf("m@%d", n)), hashOf(n)); err == nil {
				t.Error("a note was written that nothing let")
			}
		})
	}
	for begun := 0; begun < maxWriting/2; runtime.Gosched() {
		tree.mu.Lock()
		begun = tree.now
		tree.mu.Unlock()
	}
	leave()
	requests.Wait()
	alice := make(chan error)
	go func() { alice <- r.Note(share.As(t.Context(), "alice"), run(t, "a@1"), hashOf(1)) }()
	for begun := 0; begun <= maxWriting/2; runtime.Gosched() {
		tree.mu.Lock()
		begun = tree.now
		tree.mu.Unlock()
	}
	close(tree.let)
	if err := <-alice; err != nil {
		t.Errorf("another client: %v", err)
	}
	r.Close()
	if tree.most > maxWriting {
		t.Errorf("%d lists were written at the same time", tree.most)
	}
}

// A client whose paths wait to be written may not add to them without end.
func TestWaitingPathsAreBounded(t *testing.T) {
	tree := &slowTree{Tree: treetest.NewMem(t), let: make(chan struct{})}
	r := NewRecorder(tree)
	given, leave := context.WithCancel(share.As(t.Context(), "mallory"))
	leave()
	hashes := make([]string, 1<<14)
	for n := range hashes {
		hashes[n] = hashOf(n)
	}
	var err error
	n := 0
	for ; !errors.Is(err, share.ErrBusy) && n < 100; n++ {
		err = r.Note(given, run(t, "m@1"), hashes...)
	}
	if waits := r.clients["mallory"].waits; n == 100 || waits > maxWaits+len(hashes) {
		t.Errorf("after %d notes %d paths wait: %v", n, waits, err)
	}
	close(tree.let)
	r.Close()
	if waits := r.clients["mallory"].waits; waits != 0 {
		t.Errorf("%d paths wait for ever", waits)
	}
}

// The paths that a client lists in the run of another count for itself, and take nothing of what
// the other may have.
func TestNoteInTheRunOfAnother(t *testing.T) {
	tree := treetest.NewMem(t)
	r := NewRecorder(tree)
	id := run(t, "acme/app@1")
	alice, mallory := share.As(t.Context(), "alice"), share.As(t.Context(), "mallory")
	for n, client := range []context.Context{alice, mallory, mallory, mallory} {
		if err := r.Note(client, id, hashOf(n)); err != nil {
			t.Fatal(err)
		}
	}
	got := map[share.Client][2]int{}
	for client, a := range r.clients {
		got[client] = [2]int{a.runs, a.members}
	}
	if diff := cmp.Diff(map[share.Client][2]int{"alice": {1, 1}, "mallory": {1, 3}}, got); diff != "" {
		t.Errorf("runs and paths (-want +got):\n%s", diff)
	}
	if have := members(t, tree); len(have) != 4 {
		t.Errorf("the generation has %d paths", len(have))
	}
}

func TestReadErrors(t *testing.T) {
	good, err := encode(head{Version: 1, Root: "acme", Run: "1"}, []refgraph.PathID{refgraph.PackPath(hashOf(1))})
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for name, test := range map[string]struct{ key, text string }{
		"cut off":         {"acme/@1/x-0000", text[:len(text)-1]},
		"empty":           {"acme/@1/x-0000", ""},
		"a later version": {"acme/@1/x-0000", strings.Replace(text, `"version":1`, `"version":2`, 1)},
		"of another run":  {"acme/@2/x-0000", text},
		"not a hash":      {"acme/@1/x-0000", text + "nonsense\n"},
		"a strange key":   {"acme/x", text},
	} {
		tree := treetest.NewMem(t)
		if err := tree.Put(t.Context(), layout.Key(layout.RootsPrefix+test.key), layout.Bytes([]byte(test.text)), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		var wrong *Error
		if _, err := Read(t.Context(), tree, nil); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzList: a list that can be read is read again as it is written.
func FuzzList(f *testing.F) {
	text, err := encode(head{Version: 1, Root: "acme/app", Run: "1", Begun: time.Unix(7, 0).UTC()}, []refgraph.PathID{{1}, {2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, members, err := parse(text)
		if err != nil {
			return
		}
		again, err := encode(h, members)
		if err != nil {
			t.Fatal(err)
		}
		h2, members2, err := parse(again)
		if err != nil || h2.Root != h.Root || h2.Run != h.Run || !cmp.Equal(members, members2) {
			t.Fatalf("%q is written as %q: %v", text, again, err)
		}
	})
}

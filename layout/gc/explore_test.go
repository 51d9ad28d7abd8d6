package gc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// The world of the search: y, x and their NARs are old garbage in a tree, and so
// is what clients are about to push or have pushed before.
//
//	x refers to y
//	p refers to x, and is pushed by clients that have x already
//	z has the NAR of x, and is pushed by clients that need not send that
//	r is pinned
type fixture struct {
	tree    *treetest.Mem // with y, x and r
	objects map[layout.Key][]byte
	infos   map[string]layout.NarInfo

	inboxes    []*inbox.Inbox // that are open
	complaints bytes.Buffer   // of theirs
}

func path(name string) layout.StorePath {
	return layout.StorePath(strings.Repeat(name, 32) + "-" + name)
}

// newFixture makes it at the time at which each schedule begins.
func newFixture(t *testing.T) (f *fixture) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f = makeFixture(t) })
	return f
}

func makeFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{objects: map[layout.Key][]byte{}, infos: map[string]layout.NarInfo{}}
	all := treetest.NewMem(t)
	w := &layout.Writer{Tree: all, StoreDir: layout.DefaultStoreDir, Method: "none"}
	ctx := context.Background()
	add := func(tree layout.Tree, name, content string, refs ...layout.StorePath) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		info := layout.PathInfo{Path: path(name), References: refs}
		packed, err := w.Pack(ctx, nil, func(out io.Writer) error { return nar.Dump(ctx, out, file) })
		if err != nil {
			t.Fatal(err)
		}
		info.NarHash, info.NarSize = packed.NarHash, packed.NarSize
		w := *w
		w.Tree = tree
		if err := w.Add(ctx, []layout.Item{{Info: info, Packed: packed}}); err != nil {
			t.Fatal(err)
		}
	}
	f.tree = treetest.NewMem(t)
	for _, tree := range []layout.Tree{all, f.tree} {
		if _, err := layout.Init(ctx, tree, layout.DefaultCacheInfo()); err != nil {
			t.Fatal(err)
		}
		add(tree, "y", "y")
		add(tree, "x", "k", path("y"))
		add(tree, "r", "r")
	}
	add(all, "p", "p", path("x"))
	add(all, "z", "k")
	for key, text := range treetest.Contents(t, all) {
		f.objects[key] = []byte(text)
	}
	for n := range treetest.Records(t, all) {
		f.infos[n.Path.Name()] = *n
	}
	if _, err := gc.Set(ctx, f.tree, gc.PinChange{Name: "r", Paths: []layout.StorePath{path("r")}}); err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, f.tree, layout.PlanKey, `{"epoch": 1, "nonce": "first", "keepYoung": 2592000}`)
	return f
}

// An actor is a process: open happens before the search begins.
type actor struct {
	name string
	open func(f *fixture, tree layout.Tree) (run func(context.Context) error, err error)
	// pushes are the paths that are there in the end if the actor succeeds, with all
	// that they refer to.
	pushes []string
}

func sweeper(undo time.Duration) actor {
	return actor{name: "gc", open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			_, err := gc.Collect(ctx, tree, gc.Options{KeepYoung: 30 * 24 * time.Hour, Undo: undo, MaxRemoval: 1, Jobs: 1}, nil)
			return err
		}, nil
	}}
}

func openInbox(f *fixture, tree layout.Tree) (*inbox.Inbox, error) {
	b, err := inbox.Open(context.Background(), inbox.Config{Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir},
		Log: slog.New(slog.NewTextHandler(&f.complaints, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err == nil {
		f.inboxes = append(f.inboxes, b)
	}
	return b, err
}

// push is a Nix that copies paths, references first. It asks for all of them,
// and then sends what is not there.
func push(names ...string) actor {
	return pusher("push", func(ctx context.Context, b *inbox.Inbox, hashes []string) ([]bool, error) {
		stored := make([]bool, len(hashes))
		for i, hash := range hashes {
			var err error
			if _, stored[i], err = layout.Lookup(ctx, b.ForNix(), layout.NarInfoKeyOf(hash)); err != nil {
				return nil, err
			}
		}
		return stored, nil
	}, names)
}

// pushAtOnce is a client of ours, that asks for all paths with one question.
func pushAtOnce(names ...string) actor {
	return pusher("push at once", func(ctx context.Context, b *inbox.Inbox, hashes []string) ([]bool, error) {
		return b.Stored(ctx, hashes)
	}, names)
}

func pusher(what string, ask func(context.Context, *inbox.Inbox, []string) ([]bool, error), names []string) actor {
	return actor{name: what + " " + strings.Join(names, " "), pushes: names, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		b, err := openInbox(f, tree)
		return func(ctx context.Context) error {
			var hashes []string
			for _, name := range names {
				hashes = append(hashes, f.infos[name].Path.Hash())
			}
			stored, err := ask(ctx, b, hashes)
			if err != nil {
				return err
			}
			var missing []layout.NarInfo
			for i, name := range names {
				if !stored[i] {
					missing = append(missing, f.infos[name])
				}
			}
			for _, n := range missing {
				nar, _ := n.NARKey()
				_, there, err := layout.Lookup(ctx, b.ForNix(), nar)
				if err != nil {
					return err
				}
				for _, key := range []layout.Key{nar, layout.NarInfoKey(n.Path)} {
					if key == nar && there {
						continue
					}
					body := f.objects[key]
					if _, err := b.Put(ctx, key, bytes.NewReader(body), inbox.Options{Strict: true, Size: int64(len(body))}); err != nil {
						return fmt.Errorf("put %s: %w", key, err)
					}
				}
			}
			return nil
		}, err
	}}
}

// source is a store that has everything.
type source struct{ f *fixture }

func (s source) StoreDir() string { return layout.DefaultStoreDir }

func (s source) Infos(_ context.Context, paths []layout.StorePath) ([]layout.PathInfo, error) {
	var infos []layout.PathInfo
	for _, p := range paths {
		infos = append(infos, s.f.infos[p.Name()].PathInfo)
	}
	return infos, nil
}

func (s source) WriteNAR(_ context.Context, p layout.StorePath, w io.Writer) error {
	n := s.f.infos[p.Name()]
	key, err := n.NARKey()
	if err == nil {
		_, err = w.Write(s.f.objects[key])
	}
	return err
}

func exporter(name string) actor {
	return actor{name: "export " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			run := &export.Run{Source: source{f}, Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Method: "none"}, Jobs: 1, Trust: signer.Trust{All: true}}
			plan, err := run.Plan(ctx, []layout.StorePath{path(name)})
			if err != nil {
				return err
			}
			return run.Do(ctx, plan)
		}, nil
	}}
}

// pinner pins a path, if it is still there.
func pinner(name string) actor {
	return actor{name: "pin " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			_, err := gc.Set(ctx, tree, gc.PinChange{Name: "a", Paths: []layout.StorePath{path(name)}})
			return err
		}, nil
	}}
}

// early is a program that copies files: the narinfo first, which waits.
func early(name string) actor {
	return actor{name: "copy the files of " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		b, err := openInbox(f, tree)
		return func(ctx context.Context) error {
			n := f.infos[name]
			nar, _ := n.NARKey()
			for _, key := range []layout.Key{layout.NarInfoKey(n.Path), nar} {
				if _, err := b.Put(ctx, key, bytes.NewReader(f.objects[key]), inbox.Options{Size: -1}); err != nil {
					return err
				}
			}
			return nil
		}, err
	}}
}

// A world is who is at work at the same time. The first may die.
type world struct {
	name   string
	actors []actor
	fenced bool // it is a bucket: nothing keeps late requests out
	long   bool // it has many schedules
	// may says which errors of the others are expected.
	may func(error) bool
}

const aWeek = 7 * 24 * time.Hour

func worlds() []world {
	missing := func(err error) bool { return errors.As(err, new(*gc.MissingPathError)) }
	return []world{
		{name: "push", actors: []actor{sweeper(0), push("y", "x", "p")}},
		{name: "push, undo", actors: []actor{sweeper(aWeek), push("y", "x", "p")}},
		{name: "push again", actors: []actor{sweeper(0), push("y", "x")}},
		{name: "push at once", actors: []actor{sweeper(0), pushAtOnce("y", "x", "p")}},
		{name: "push at once again", actors: []actor{sweeper(0), pushAtOnce("y", "x")}},
		{name: "push the same NAR", actors: []actor{sweeper(0), push("z")}},
		{name: "push the same NAR, undo", actors: []actor{sweeper(aWeek), push("z")}},
		{name: "export", actors: []actor{sweeper(0), exporter("p")}},
		{name: "export, undo", actors: []actor{sweeper(aWeek), exporter("p")}},
		{name: "export what is there", actors: []actor{sweeper(0), exporter("x")}},
		{name: "pin", actors: []actor{sweeper(0), pinner("x")}, may: missing},
		{name: "files", actors: []actor{sweeper(0), early("z")}},
		{name: "two pushes", actors: []actor{sweeper(0), push("y", "x", "p"), push("z")}, long: true},
		{name: "push and export", actors: []actor{sweeper(0), push("z"), exporter("p")}, long: true},
	}
}

// A removed step is one that the protocol has to do without.
type removed struct {
	turns func(*treetest.Turns)
	fence func(*layout.Fence)
	sure  bool // no process dies, and every request gets an answer
}

// tick is how much time passes while all processes wait for it.
var tick = map[bool]time.Duration{false: time.Second, true: time.Minute}

// try runs one schedule of a world, and tells what went wrong.
func (w world) try(t *testing.T, f *fixture, s *treetest.Search, out *removed) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		if lock := &gc.Without.Lock; w.fenced && !*lock { // the protocol holds without it
			*lock = true
			defer func() { *lock = false }()
		}
		mem := f.tree.Clone(nil)
		f.complaints.Reset()
		tree := treetest.NewTurns(mem)
		tree.Free = func(layout.Key) bool { return true }
		if out.turns != nil {
			out.turns(tree)
		}
		time.Sleep(100 * 24 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		errs := make([]error, len(w.actors))
		ended := make([]bool, len(w.actors))
		var runs []func(context.Context) error
		for i, a := range w.actors {
			process := tree.Process(i)
			if w.fenced {
				fenced := tree.FencedProcess(i)
				if out.fence != nil {
					out.fence(fenced.Fence())
				}
				process = fenced
			}
			run, err := a.open(f, process)
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, run)
		}
		tree.Free = func(key layout.Key) bool {
			if w.fenced && seenByOne(key) {
				return true
			}
			return strings.HasPrefix(string(key), layout.PrivatePrefix+"sync-lease") || key == layout.CacheInfoKey
		}
		for i, run := range runs {
			go func() {
				errs[i] = run(ctx)
				ended[i] = true
			}()
		}
		for {
			synctest.Wait()
			if s.Step(tree) {
				continue
			}
			if !slices.Contains(ended, false) {
				break
			}
			time.Sleep(tick[w.fenced]) // what waits now waits for time
			if time.Since(time.Date(2000, 6, 1, 0, 0, 0, 0, time.UTC)) > 0 {
				wrong = "somebody waits for ever"
				cancel()
				break
			}
		}
		cancel()
		tree.Arrive()
		tree.Free = func(layout.Key) bool { return true }
		for _, b := range f.inboxes {
			b.Close()
		}
		f.inboxes = nil
		synctest.Wait()
		if wrong == "" {
			wrong = w.judge(f, mem, errs)
		}
	})
	return wrong
}

// judge looks at what is left in the end.
func (w world) judge(f *fixture, mem *treetest.Mem, errs []error) string {
	if broken := mem.Violations(); len(broken) > 0 {
		return broken[0]
	}
	ctx := context.Background()
	there := func(p layout.StorePath) bool {
		_, ok, _ := layout.Lookup(ctx, mem, layout.NarInfoKey(p))
		return ok
	}
	recorded := map[layout.Key]bool{}
	records, _ := gc.Records(ctx, mem)
	for _, r := range records {
		for w := range r.Read(ctx, mem) {
			recorded[w.Key] = true
		}
	}
	for i, a := range w.actors {
		if err := errs[i]; err != nil {
			if !errors.Is(err, treetest.ErrDied) && !(w.fenced && mayFail(err)) && (w.may == nil || !w.may(err)) {
				return fmt.Sprintf("%s: %v", a.name, err)
			}
			continue
		}
		if strings.Contains(f.complaints.String(), "cannot be renewed") {
			continue // the request got no answer, and the operator is told
		}
		for _, name := range a.pushes {
			n := f.infos[name]
			for _, p := range append([]layout.StorePath{n.Path}, n.References...) {
				if !there(p) {
					return fmt.Sprintf("%s: acknowledged, and %s is gone", a.name, p)
				}
			}
		}
	}
	if strings.HasSuffix(w.name, "undo") && !w.fenced {
		for _, name := range []string{"x", "y"} {
			if key := layout.NarInfoKey(path(name)); !there(path(name)) && !recorded[key] {
				return fmt.Sprintf("%s was withdrawn without a record", name)
			}
		}
	}
	return ""
}

// explore goes through all schedules of a world, and returns the first that goes
// wrong.
func (w world) explore(t *testing.T, f *fixture, bound int, out *removed) (s *treetest.Search, wrong string) {
	s = &treetest.Search{Bound: bound, Mortal: []int{0}}
	if out.sure {
		s.Mortal, s.Sure = nil, true
	}
	for s.Next() {
		if wrong = w.try(t, f, s, out); wrong != "" {
			return s, wrong
		}
	}
	return s, ""
}

// bound is how often a process is interrupted: NIXSTATIC_EXPLORE says how often,
// for make explore.
func bound(t *testing.T) int {
	switch n := os.Getenv("NIXSTATIC_EXPLORE"); n {
	case "":
		return 1
	default:
		var bound int
		if _, err := fmt.Sscan(n, &bound); err != nil {
			t.Fatal(err)
		}
		return bound
	}
}

// TestExplore shows that in no order of operations a tree is broken, something
// acknowledged is lost, or an upload is refused; wherever the sweeper dies.
func TestExplore(t *testing.T) {
	f := newFixture(t)
	schedules, steps := 0, 0
	for n, w := range worlds() {
		if n%quick.Step(4) > 0 || w.long && !quick.All {
			continue
		}
		s, wrong := w.explore(t, f, bound(t), &removed{})
		if wrong != "" {
			t.Errorf("%s: %s\n%s", w.name, wrong, s.Trace())
		}
		t.Logf("%-22s %7d schedules, %8d steps", w.name, s.Schedules, s.Steps)
		schedules, steps = schedules+s.Schedules, steps+s.Steps
	}
	t.Logf("%d schedules, %d steps, at most %d interruptions each", schedules, steps, bound(t))
}

// TestExploreWithout takes one step after the other out of the protocol: the same
// search finds what it is there for.
func TestExploreWithout(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name  string
		field *bool
		turns func(*treetest.Turns)
		long  bool // it is found after many schedules
	}{
		{"writers that wait for a sweep, and it for them", nil, func(tree *treetest.Turns) { tree.Without.WriterLock = true }, false},
		{"a look that waits for a sweep", nil, func(tree *treetest.Turns) { tree.Without.LookLock = true }, true},
		{"writers that see that something was removed", nil, func(tree *treetest.Turns) { tree.Without.Versions = true }, true},
		{"keeping writers out", &gc.Without.Exclude, nil, false},
		{"announcing", &gc.Without.Announce, nil, true},
		{"looking again", &gc.Without.Recheck, nil, false},
		{"keeping what new paths lead to", &gc.Without.Closure, nil, true},
		{"keeping what was renewed", &gc.Without.Renewed, nil, false},
		{"referrers first", &gc.Without.Order, nil, false},
		{"records", &gc.Without.Records, nil, false},
		{"comparing versions of NARs", &gc.Without.Versions, nil, true},
	} {
		if c.long && !quick.All {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.field != nil {
				*c.field = true
				defer func() { *c.field = false }()
			}
			for bound := range 3 {
				for _, w := range worlds() {
					if s, wrong := w.explore(t, f, bound, &removed{turns: c.turns}); wrong != "" {
						t.Logf("%s: %s, found after %d schedules, in %d steps", w.name, wrong, s.Schedules, strings.Count(s.Trace(), "\n")+1)
						return
					}
				}
			}
			t.Error("the search finds nothing")
		})
	}
}

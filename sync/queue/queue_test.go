package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

func path(i int) string { return fmt.Sprintf("/nix/store/%032d-p%d", i, i) }

func newQueue(t testing.TB) *Queue {
	t.Helper()
	q, err := Make(filepath.Join(t.TempDir(), "queue"))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func waiting(t testing.TB, q *Queue) []string {
	t.Helper()
	entries, err := q.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{}
	for _, e := range entries {
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	return paths
}

// A server is where a Drainer sends to. It takes what it is not told to refuse.
type server struct {
	mu      sync.Mutex
	got     map[string]int
	refuses func(path string) error
	gone    func(path string) bool
	outputs map[string][]string
	calls   int
}

func (s *server) send(_ context.Context, paths []string) (sent Sent, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	var good []string
	for _, p := range paths {
		switch {
		case s.gone != nil && s.gone(p):
			sent.Gone = append(sent.Gone, p)
		case s.outputs[p] != nil:
			sent.Outputs = map[string][]string{p: s.outputs[p]}
		default:
			good = append(good, p)
		}
	}
	for _, p := range good {
		if s.refuses != nil {
			if err := s.refuses(p); err != nil {
				return sent, err
			}
		}
	}
	for _, p := range good {
		s.got[p]++
	}
	sent.Sent = good
	return sent, nil
}

func drainer(t testing.TB, q *Queue, s *server) *Drainer {
	t.Helper()
	if s.got == nil {
		s.got = map[string]int{}
	}
	d := &Drainer{Queue: q, Send: s.send, Log: t.Logf}
	if err := d.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.lock.Close() })
	return d
}

func empty(t testing.TB, d *Drainer) (int, error) {
	t.Helper()
	now := make(chan struct{})
	close(now)
	return d.Empty(t.Context(), now)
}

func add(t testing.TB, q *Queue, paths ...string) {
	t.Helper()
	if err := q.Add(paths...); err != nil {
		t.Fatal(err)
	}
}

func TestDrain(t *testing.T) {
	q, s := newQueue(t), &server{}
	want := map[string]int{}
	for i := range 250 {
		add(t, q, path(i), path(i))
		want[path(i)] = 1
	}
	if n := len(waiting(t, q)); n != 250 {
		t.Errorf("%d wait", n)
	}
	if left, err := empty(t, drainer(t, q, s)); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if diff := cmp.Diff(want, s.got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if s.calls != 3 {
		t.Errorf("%d batches, want 3", s.calls)
	}
	if left := waiting(t, q); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Entries that are not store paths are not added, and the others are.
func TestAddRefuses(t *testing.T) {
	q := newQueue(t)
	bad := []string{"", "x", "/etc/passwd", "/nix/store/" + strings.Repeat("a", 32), "/nix/store/" + strings.Repeat("A", 32) + "-x",
		"/nix/store/" + strings.Repeat("e", 32) + "-x", "/nix/store/" + strings.Repeat("a", 31) + "--x",
		"/nix/store/" + strings.Repeat("a", 32) + "-a\n", "/nix/store/" + strings.Repeat("a", 32) + "-" + strings.Repeat("x", 212),
		strings.Repeat("a", 32) + "-x"}
	for _, b := range bad {
		if b == "" {
			continue // no word of OUT_PATHS is empty
		}
		if err := q.Add(b, path(1)); err == nil {
			t.Errorf("%q was added", b)
		}
	}
	if diff := cmp.Diff([]string{path(1)}, waiting(t, q)); diff != "" {
		t.Error(diff)
	}
	if _, missed := q.Missed(); missed {
		t.Error("a word that is not a store path was missed")
	}
}

// A path that the server refuses keeps back none of the others.
func TestDrainRefusedPath(t *testing.T) {
	q := newQueue(t)
	bad := map[string]bool{path(0): true, path(37): true, path(99): true}
	s := &server{refuses: func(p string) error {
		if bad[p] {
			return fmt.Errorf("no room for %s (%w)", p, ErrRefused)
		}
		return nil
	}}
	for i := range 100 {
		add(t, q, path(i))
	}
	left, err := empty(t, drainer(t, q, s))
	if left != 3 || err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%d left, %v", left, err)
	}
	if diff := cmp.Diff([]string{path(0), path(37), path(99)}, waiting(t, q)); diff != "" {
		t.Error(diff)
	}
	if len(s.got) != 97 {
		t.Errorf("%d sent", len(s.got))
	}
	st, err := q.Status()
	if err != nil || len(st.Failing) != 3 || st.Waiting != 3 || st.Sent != 97 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A server that is away is tried again, and what waits is sent when it is back.
func TestDrainAgain(t *testing.T) {
	q := newQueue(t)
	away := 3
	s := &server{refuses: func(string) error {
		if away--; away >= 0 {
			return errors.New("connection refused")
		}
		return nil
	}}
	add(t, q, path(1), path(2))
	if left, err := empty(t, drainer(t, q, s)); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
}

// Refused as a whole, a drain ends at once and says why.
func TestDrainRefused(t *testing.T) {
	q := newQueue(t)
	s := &server{refuses: func(string) error { return fmt.Errorf("401 Unauthorized (%w)", ErrRefused) }}
	add(t, q, path(1), path(2))
	left, err := empty(t, drainer(t, q, s))
	if left != 2 || err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("%d left, %v", left, err)
	}
	st, err := q.Status()
	if err != nil || !strings.Contains(st.LastError, "401") || st.NextTry.IsZero() || !st.Refused || !st.Draining {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestDrainGoneAndDerivations(t *testing.T) {
	q := newQueue(t)
	drv, empty1 := path(5)+".drv", path(6)+".drv"
	s := &server{gone: func(p string) bool { return p == path(1) }, outputs: map[string][]string{drv: {path(7), path(8)}, empty1: {}}}
	add(t, q, path(1), path(2), drv)
	if left, err := empty(t, drainer(t, q, s)); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if diff := cmp.Diff(map[string]int{path(2): 1, path(7): 1, path(8): 1}, s.got); diff != "" {
		t.Error(diff)
	}
	if st, _ := q.Status(); st.Gone != 1 || st.Sent != 3 {
		t.Errorf("%+v", st)
	}
}

// A path that is built again while it is being sent is an entry of its own.
func TestAddWhileSending(t *testing.T) {
	q := newQueue(t)
	s := &server{}
	again := true
	s.refuses = func(p string) error {
		if again {
			again = false
			add(t, q, p)
		}
		return nil
	}
	add(t, q, path(1))
	if left, err := empty(t, drainer(t, q, s)); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if s.got[path(1)] != 2 {
		t.Errorf("sent %d times", s.got[path(1)])
	}
}

func TestOneDrains(t *testing.T) {
	q := newQueue(t)
	d := drainer(t, q, &server{})
	other := &Drainer{Queue: q}
	if err := other.Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	if st, err := q.Status(); err != nil || !st.Draining {
		t.Errorf("%+v, %v", st, err)
	}
	d.Close()
	if st, err := q.Status(); err != nil || st.Draining {
		t.Errorf("%+v, %v", st, err)
	}
	if err := other.Lock(); err != nil {
		t.Error(err)
	}
	other.Close()
}

// A path that could not be added is found in the store, also if one more is missed while
// it is looked for.
func TestMissed(t *testing.T) {
	q := newQueue(t)
	if err := os.RemoveAll(q.in("new")); err != nil { // as good as a full disk
		t.Fatal(err)
	}
	if err := q.Add(path(1)); err == nil {
		t.Fatal("added to nothing")
	}
	since, missed := q.Missed()
	if !missed || time.Since(since) < intake.Before {
		t.Errorf("missed %v since %v", missed, since)
	}
	if err := os.Mkdir(q.in("new"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	d := drainer(t, q, s)
	searched := 0
	d.Search = func(_ context.Context, from time.Time) error {
		if searched++; from.After(since) {
			t.Errorf("searched from %v, want %v", from, since)
		}
		if searched == 1 {
			intake.MissedSince(q.dir, time.Now())
		}
		return q.Add(path(searched))
	}
	d.status.Looked = time.Now()
	d.search(t.Context())
	if _, missed := q.Missed(); !missed {
		t.Error("what was missed during the search is forgotten")
	}
	d.searchMissed = time.Time{}
	d.search(t.Context())
	if _, missed := q.Missed(); missed || searched != 2 {
		t.Errorf("missed %v after %d searches", missed, searched)
	}
	if left, err := empty(t, d); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
}

// After a crash of the machine the store is searched from before the last sign of life.
func TestCrashOfTheMachine(t *testing.T) {
	q := newQueue(t)
	d := drainer(t, q, &server{})
	d.status.Boot = "another"
	d.Close()
	if _, missed := q.Missed(); missed {
		t.Fatal("missed too early")
	}
	drainer(t, q, &server{})
	if since, missed := q.Missed(); !missed || time.Since(since) < intake.Before || time.Since(since) > intake.Before+time.Minute {
		t.Errorf("missed %v since %v", missed, since)
	}
}

// Files in the directories of a queue that are not entries are left alone.
func TestWaitingForeign(t *testing.T) {
	q := newQueue(t)
	name := filepath.Base(path(1))
	for _, make := range []error{
		os.WriteFile(q.in("new/"+name), nil, 0o644),
		os.Symlink("/etc/passwd", q.in("new/"+filepath.Base(path(2)))),
		os.Symlink(filepath.Base(path(3)), q.in("new/"+filepath.Base(path(3)))),
		os.Symlink(path(4), q.in("new/README")),
	} {
		if make != nil {
			t.Fatal(make)
		}
	}
	if got := waiting(t, q); len(got) > 0 {
		t.Errorf("waiting: %q", got)
	}
}

// A file that has the name of an entry and is none keeps no path out of the queue for long:
// the hook says that it missed the path, and the process that drains makes room for it.
func TestStrange(t *testing.T) {
	q, s := newQueue(t), &server{}
	for i, make := range []func(name string) error{
		func(name string) error { return os.WriteFile(name, nil, 0o644) },
		func(name string) error { return os.Mkdir(name, 0o755) },
		func(name string) error { return os.Symlink("loop", name) },
		func(name string) error { return os.Symlink("/nix/store/other", name) },
	} {
		if err := make(q.in("new/" + filepath.Base(path(i)))); err != nil {
			t.Fatal(err)
		}
		if err := q.Add(path(i)); err == nil {
			t.Errorf("%s was added to what is no entry", path(i))
		}
	}
	if _, missed := q.Missed(); !missed {
		t.Error("nothing was missed")
	}
	d := drainer(t, q, s)
	searched := 0
	d.Search = func(context.Context, time.Time) error {
		searched++
		return q.Add(path(0), path(1), path(2), path(3))
	}
	if _, err := d.shelf.look(q); err != nil {
		t.Fatal(err)
	}
	if left, err := empty(t, d); left != 0 || err != nil || searched != 1 {
		t.Errorf("%d left after %d searches: %v", left, searched, err)
	}
	if want := map[string]int{path(0): 1, path(1): 1, path(2): 1, path(3): 1}; !cmp.Equal(want, s.got) {
		t.Errorf("sent %v", s.got)
	}
	if _, missed := q.Missed(); missed {
		t.Error("something is missed still")
	}
	if names, err := os.ReadDir(q.in("strange")); err != nil || len(names) != 4 {
		t.Errorf("moved aside: %v, %v", names, err)
	}
}

// Entries are not listed again where nothing came; what a person removed is noticed.
func TestShelf(t *testing.T) {
	q := newQueue(t)
	var s shelf
	look := func(wantListed bool, want ...string) {
		t.Helper()
		listed, err := s.look(q)
		got := []string{}
		for _, e := range s.entries {
			got = append(got, e.Path)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || listed != wantListed {
			t.Errorf("listed %v, %v (-want +got):\n%s", listed, err, diff)
		}
	}
	add(t, q, path(1))
	look(true, path(1))
	add(t, q, path(2)) // a moment later
	look(false, path(1), path(2))
	add(t, q, path(1), path(3)) // one of them again
	look(false, path(1), path(2), path(3))
	if err := os.Remove(q.in("work/" + filepath.Base(path(2)))); err != nil {
		t.Fatal(err)
	}
	look(false, path(1), path(2), path(3))
	s.listed = s.listed.Add(-relisting)
	look(true, path(1), path(3))
	s.drop(map[string]bool{path(1): true})
	look(false, path(3))
	// An old time of the folder says that nothing came.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(q.in("new"), old, old); err != nil {
		t.Fatal(err)
	}
	look(false, path(3))
	add(t, q, path(4))
	if err := os.Chtimes(q.in("new"), old, old); err != nil {
		t.Fatal(err)
	}
	look(false, path(3))
}

// The store is asked to keep some at a time, the oldest first, and none that is sent at once.
func TestKeepSome(t *testing.T) {
	q := newQueue(t)
	d := drainer(t, q, &server{})
	var entries []Entry
	for i := range 3*keepMost + 1 {
		entries = append(entries, Entry{Path: path(i), Since: time.Now().Add(-time.Hour)})
	}
	entries[1].Since = time.Now().Add(time.Hour) // the clock was set back
	entries[2].Since = time.Now()
	var kept []int
	d.Keep = func(_ context.Context, some []Entry) { kept = append(kept, len(some)) }
	for range 5 {
		d.keep(t.Context(), entries, entries[:1])
	}
	if diff := cmp.Diff([]int{keepMost, keepMost, keepMost - 1}, kept); diff != "" {
		t.Error(diff)
	}
	if d.kept[path(0)] || !d.kept[path(1)] || d.kept[path(2)] {
		t.Error("kept is what is sent at once or came a moment ago, or not kept what is old")
	}
}

// However many paths are wrong by themselves, the others are sent.
func TestDrainManyWrong(t *testing.T) {
	q := newQueue(t)
	s := &server{}
	wrong := func(p string) bool { return strings.HasSuffix(p, "1") || p < path(200) }
	for i := range 300 {
		add(t, q, path(i))
	}
	d := drainer(t, q, s)
	d.Send = func(ctx context.Context, paths []string) (Sent, error) {
		failed := map[string]error{}
		paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
			if wrong(p) {
				failed[p] = fmt.Errorf("of another store (%w)", ErrRefused)
			}
			return wrong(p)
		})
		sent, err := s.send(ctx, paths)
		sent.Failed = failed
		return sent, err
	}
	left, err := empty(t, d)
	if left != 210 || len(s.got) != 90 || err == nil || !strings.Contains(err.Error(), "of another store") {
		t.Errorf("%d left, %d sent, %v", left, len(s.got), err)
	}
}

// A batch that fails as a whole is not the one that is tried next, while others wait.
func TestDrainOtherBatch(t *testing.T) {
	q := newQueue(t)
	for i := range 30 {
		add(t, q, path(i))
	}
	s := &server{refuses: func(p string) error {
		if p < path(20) {
			return errors.New("too large")
		}
		return nil
	}}
	d := drainer(t, q, s)
	d.Batch = 10
	for range 3 {
		if _, err := d.shelf.look(q); err != nil {
			t.Fatal(err)
		}
		d.status.NextTry = time.Time{}
		d.round(t.Context(), d.ready(d.shelf.entries))
	}
	if len(s.got) != 10 {
		t.Errorf("%d sent, want 10", len(s.got))
	}
}

// Times that lie in the future, as the clock was set back, hold nothing up, and have the
// store searched.
func TestClockSetBack(t *testing.T) {
	q, s := newQueue(t), &server{}
	add(t, q, path(1))
	future := time.Now().AddDate(1, 0, 0)
	for _, name := range []string{intake.Missed, intake.MissedLast, "wake"} {
		if err := os.Chtimes(q.in(name), future, future); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.writeStatus(Status{Looked: future, NextTry: future, LastError: "away"}); err != nil {
		t.Fatal(err)
	}
	d := drainer(t, q, s)
	d.Search = func(_ context.Context, since time.Time) error {
		if since.After(time.Now().Add(-time.Hour)) {
			t.Errorf("searched from %v", since)
		}
		return q.Add(path(2))
	}
	if left, err := empty(t, d); left != 0 || err != nil || len(s.got) != 2 {
		t.Errorf("%d left, %v; sent %v", left, err, s.got)
	}
	if since, missed := q.Missed(); missed {
		t.Errorf("missed since %v", since)
	}
}

// While an attempt takes long, the status says since when, and why.
func TestTrouble(t *testing.T) {
	q := newQueue(t)
	add(t, q, path(1))
	d := drainer(t, q, &server{})
	ctx, stop := context.WithCancel(t.Context())
	d.Send = func(context.Context, []string) (sent Sent, err error) {
		if st, err := q.Status(); err != nil || time.Since(st.Trying) > time.Minute || st.LastError != "" {
			t.Errorf("%+v, %v", st, err)
		}
		d.Trouble("429, come back in a minute")
		if st, err := q.Status(); err != nil || st.Trying.IsZero() || !strings.Contains(st.LastError, "429") {
			t.Errorf("%+v, %v", st, err)
		}
		stop()
		return sent, ctx.Err()
	}
	now := make(chan struct{})
	close(now)
	if left, err := d.Empty(ctx, now); left != 1 || err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("%d left, %v", left, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if st, err := q.Status(); err != nil || st.Draining || !st.Trying.IsZero() {
		t.Errorf("closed: %+v, %v", st, err)
	}
	d = drainer(t, q, &server{})
	d.Send = func(_ context.Context, paths []string) (Sent, error) { return Sent{Sent: paths}, nil }
	if left, err := empty(t, d); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if st, err := q.Status(); err != nil || !st.Trying.IsZero() || st.LastError != "" {
		t.Errorf("afterwards: %+v, %v", st, err)
	}
}

// A hook that is root's adds nothing outside of the queue of a user.
func TestAddThroughLinks(t *testing.T) {
	q, elsewhere := newQueue(t), t.TempDir()
	if err := errors.Join(os.Remove(q.in("new")), os.Symlink(elsewhere, q.in("new"))); err != nil {
		t.Fatal(err)
	}
	if err := q.Add(path(1)); err == nil {
		t.Error("added")
	}
	if there, err := os.ReadDir(elsewhere); err != nil || len(there) > 0 {
		t.Errorf("%v %v", there, err)
	}
}

func TestSettings(t *testing.T) {
	q := newQueue(t)
	want := Settings{Version: 1, To: "https://user:word@cache.example.org", Flags: map[string][]string{"exclude": {"a", "b"}}}
	if err := q.WriteSettings(want); err != nil {
		t.Fatal(err)
	}
	got, err := q.ReadSettings()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if st, err := os.Stat(q.in("settings")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"version":1,"waiting":3,"failing":[{"path":"x"}]}`))
	f.Add([]byte(`{"saved":"yesterday"}`))
	q := newQueue(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(q.in("status"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(q.in("settings"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Status(); err != nil {
			t.Error(err)
		}
		q.ReadSettings()
	})
}

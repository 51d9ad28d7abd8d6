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

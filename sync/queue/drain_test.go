package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

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

package queue

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/sync/queue/intake"
)

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

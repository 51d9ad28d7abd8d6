package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// sendAs puts an object for a client.
func (tr *trial) sendAs(c share.Client, key layout.Key, body string, strict bool) (Outcome, error) {
	return tr.Put(share.As(context.Background(), c), key, strings.NewReader(body), Options{Strict: strict, Size: int64(len(body))})
}

// mustAs puts an object for a client and wants this outcome.
func (tr *trial) mustAs(c share.Client, key layout.Key, body string, want Outcome) {
	tr.tb.Helper()
	if got, err := tr.sendAs(c, key, body, false); err != nil || got != want {
		tr.tb.Errorf("%s puts %s: %v, %v, want %v", c, key, got, err, want)
	}
}

// invented returns the narinfo of a path that no cache has, with the NAR of
// another and these references.
func (s *sample) invented(t testing.TB, i int, refs ...layout.StorePath) (layout.Key, string) {
	t.Helper()
	n := s.narInfo(t, "flat")
	n.Path = inventedPath(i)
	n.CA, n.Sigs, n.References = "", nil, refs
	return layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir))
}

func inventedPath(i int) layout.StorePath { return layout.StorePath(fmt.Sprintf("%032d-invented", i)) }

// A client that has much waiting cannot have it looked through again and again: others
// wait meanwhile.
func TestLookingThroughCosts(t *testing.T) {
	tr := newTrial(t, nil)
	for i := range 10 * unseenInLookup {
		if _, err := tr.sendAs("a", layout.ListingKey(inventedPath(i)), "{", false); err != nil {
			t.Fatal(err)
		}
	}
	tr.lookups = share.NewBudget(45, time.Hour)
	list := func(c share.Client, prefix string) (n int, err error) {
		for _, err = range tr.List(share.As(t.Context(), c), prefix) {
			n++
		}
		return n, err
	}
	for _, prefix := range []string{"", "realisations/x/", "", "debuginfo/", "log/"} {
		n, err := list("a", prefix)
		if err != nil || prefix == "" && n < 10*unseenInLookup {
			t.Fatalf("%q: %d, %v", prefix, n, err)
		}
	}
	for _, prefix := range []string{"", "realisations/x/"} {
		if _, err := list("a", prefix); !errors.Is(err, share.ErrBusy) {
			t.Errorf("%q once too often: %v", prefix, err)
		}
		if _, err := list("b", prefix); err != nil {
			t.Errorf("%q of another client: %v", prefix, err)
		}
	}
}

// Listings count where the disk is to keep some room.
func TestListingsKeepTheFloor(t *testing.T) {
	s := newSample(t)
	free := uint64(1 << 20)
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace, c.MinFree = func() (uint64, error) { return free, nil }, 1<<20-100
	})
	key := layout.ListingKey(s.path("source"))
	tr.refused(key, s.objects[key], false, NoSpace)
	if err := tr.Check(t.Context(), key, Options{Size: 101}); reasonOf(err) != NoSpace {
		t.Errorf("check: %v", err)
	}
}

// A receipt is not forgotten for what another client sends.
func TestReceiptsApart(t *testing.T) {
	s := newSample(t)
	var gets []layout.Key
	tr := newTrial(t, func(c *Config) { c.Memory = 8 << 10 })
	tr.Inbox.writer.Tree = &watched{Tree: tr.mem, get: func(key layout.Key) { gets = append(gets, key) }}
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	tr.mustAs("honest", nar, s.objects[nar], Created)
	for key, text := range maps.All(s.objects) {
		if key.Kind() == layout.KindNAR && key != nar {
			tr.mustAs("attacker", key, text, Created)
		}
	}
	tr.mustAs("honest", key, s.objects[key], Created)
	if slices.Contains(gets, nar) {
		t.Error("the honest client's NAR was read back")
	}
}

// A client fills no log with what becomes of its uploads later, and others are told of.
func TestLinesOfClients(t *testing.T) {
	var text bytes.Buffer
	log := newLog(slog.New(slog.NewTextHandler(&text, nil)))
	a := share.As(t.Context(), "a")
	for range 2 * maxTold {
		log.InfoContext(a, "published")
	}
	if n := strings.Count(text.String(), "published"); n < maxTold || n > maxTold+maxTold/2 {
		t.Errorf("%d lines", n)
	}
	text.Reset()
	log.InfoContext(share.As(t.Context(), "b"), "published")
	if got := text.String(); !strings.Contains(got, "published") || !strings.Contains(got, "untold=") {
		t.Errorf("of another client the log says %q", got)
	}
	tr := newTrial(t, nil)
	if _, ok := tr.Inbox.log.Handler().(clientLog); !ok {
		t.Error("the inbox has another log")
	}
}

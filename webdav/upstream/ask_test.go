package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

func TestUpstreamHas(t *testing.T) {
	u := newUpstreamTrial(t)
	p, q := storePath("0", "first"), storePath("1", "second")
	u.one.set(t, p, u.keyA)
	u.two.set(t, q, u.keyB)
	for range 3 {
		for _, path := range []layout.StorePath{p, q} {
			text, err := u.Has(t.Context(), path.Hash())
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir); err != nil || n.Path != path {
				t.Fatalf("%s: %v, %v", path, n, err)
			}
		}
		if _, err := u.Has(t.Context(), strings.Repeat("2", 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("what nobody has: %v", err)
		}
	}
	u.wantAsked(t, 3, 2)
	// Absence is forgotten; what was signed is not.
	u.later(6 * time.Minute)
	r := storePath("2", "third")
	u.two.set(t, r, u.keyB)
	for _, path := range []layout.StorePath{p, q, r} {
		if _, err := u.Has(t.Context(), path.Hash()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	u.wantAsked(t, 4, 3)
}

// A cache's word counts for what its own key signed, and under the right name.
func TestUpstreamRecordsThatDoNotCount(t *testing.T) {
	u := newUpstreamTrial(t)
	p, q, r := storePath("0", "unsigned"), storePath("1", "stranger"), storePath("2", "neighbour")
	u.one.set(t, p)
	u.one.set(t, q, newKey(t, "a-1"))
	u.one.set(t, r, u.keyB) // good if the other cache had said it
	s := storePath("3", "misnamed")
	u.one.set(t, s, u.keyA)
	u.one.records[layout.Key(strings.Repeat("4", 32)+".narinfo")] = u.one.records[layout.NarInfoKey(s)]
	u.one.records[layout.Key(strings.Repeat("5", 32)+".narinfo")] = []byte("<html>\n")
	for _, c := range []string{"0", "1", "2", "4", "5"} {
		if text, err := u.Has(t.Context(), strings.Repeat(c, 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", c, text, err)
		}
	}
	if n := strings.Count(u.log.String(), "does not count"); n != 5 {
		t.Errorf("%d of them are in the log:\n%s", n, u.log)
	}
	// Another name with the same hash is another path.
	if ok, err := u.Provided(t.Context(), storePath("3", "othername")); ok || err != nil {
		t.Errorf("a path of another name: %v, %v", ok, err)
	}
}

// A cache that does not answer proves no absence, and holds up no client for
// long.
func TestUpstreamThatIsDown(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.two.set(t, p, u.keyB)
	u.one.err = errors.New("connection refused")
	if _, err := u.Has(t.Context(), p.Hash()); err != nil {
		t.Errorf("what another cache has: %v", err)
	}
	for range 10 {
		_, err := u.Has(t.Context(), strings.Repeat("1", 32))
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a.example.org") || !strings.Contains(err.Error(), "connection refused") {
			t.Fatalf("what nobody else has: %v", err)
		}
		if ok, err := u.Provided(t.Context(), storePath("1", "x")); ok || err == nil {
			t.Fatalf("Provided: %v, %v", ok, err)
		}
	}
	if u.one.asked != maxFailuresInARow {
		t.Errorf("it was asked %d times", u.one.asked)
	}
	u.later(leftAloneFor)
	u.Has(t.Context(), strings.Repeat("1", 32))
	u.Has(t.Context(), strings.Repeat("1", 32))
	if u.one.asked != maxFailuresInARow+1 {
		t.Errorf("after a while it was asked %d times", u.one.asked)
	}
	u.later(leftAloneFor)
	u.one.err = nil
	for range 3 {
		if _, err := u.Has(t.Context(), strings.Repeat("1", 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("once it answers again: %v", err)
		}
	}
}

func TestUpstreamTimeout(t *testing.T) {
	u := newUpstreamTrial(t)
	u.one.slow = make(chan struct{})
	c := u.configFirst
	c.Timeout = 10 * time.Millisecond
	u.open(t, c)
	if _, err := u.Has(t.Context(), strings.Repeat("0", 32)); err == nil || errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "no answer in 10ms") {
		t.Errorf("no answer in time: %v", err)
	}
}

// Many requests at once are one question, even if some of them end.
func TestUpstreamAskedOnce(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.one.set(t, p, u.keyA)
	u.one.slow = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := u.Has(ctx, p.Hash())
		first <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			if _, err := u.Has(t.Context(), p.Hash()); err != nil {
				t.Error(err)
			}
		})
	}
	close(u.one.slow)
	wait.Wait()
	u.wantAsked(t, 1, 0)
}

// A client whose questions take their time does not keep another waiting, not even with
// the same question.
func TestQuestionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstreamTrial(t)
		open := make(chan struct{})
		u.one.slow = open
		mallory, alice := share.As(t.Context(), "mallory"), share.As(t.Context(), "alice")
		ctx, leave := context.WithCancel(mallory)
		for i := range maxAsking {
			go u.Has(ctx, fmt.Sprintf("%032d", i))
			synctest.Wait()
		}
		asked := func() int { return int(u.one.under.Load()) }
		if n := asked(); n != maxAsking/2 {
			t.Errorf("a client alone asks %d questions, want %d", n, maxAsking/2)
		}
		go u.Has(alice, fmt.Sprintf("%032d", maxAsking-1)) // one that waits
		synctest.Wait()
		if n := asked(); n != maxAsking/2+1 {
			t.Errorf("with another client there are %d questions", n)
		}
		leave() // questions go on, and count
		synctest.Wait()
		for i := range maxAsking {
			go u.Has(mallory, fmt.Sprintf("%031dx", i))
		}
		synctest.Wait()
		if n := asked(); n > maxAsking/2+1 {
			t.Errorf("a client that leaves its questions has %d asked", n)
		}
		close(open)
	})
}

// The references of very many narinfos that a client sends at once are all looked for.
func TestQuestionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstreamTrial(t)
		open := make(chan struct{})
		u.one.slow = open
		ctx := share.As(t.Context(), "alice")
		var wait sync.WaitGroup
		for i := range 1000 {
			wait.Go(func() {
				if _, err := u.Has(ctx, fmt.Sprintf("%032d", i)); !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(open)
		wait.Wait()
	})
}

func TestAnswersAreBounded(t *testing.T) {
	a := newAnswers()
	now := time.Now()
	text := make([]byte, 1<<20)
	for i := range 100 {
		a.put(strings.Repeat(string(rune('a'+i%26)), i+1), answer{text: text}, now, time.Hour)
	}
	n := 0
	for i := range 100 {
		if _, ok := a.get(strings.Repeat(string(rune('a'+i%26)), i+1), now); ok {
			n++
		}
	}
	if n > 17 || n < 7 {
		t.Errorf("%d answers of 1 MiB are remembered", n)
	}
	a.put("x", answer{}, now, time.Minute)
	if _, ok := a.get("x", now.Add(time.Minute)); ok {
		t.Error("an answer outlives its time")
	}
	if a, ok := a.get("x", now); !ok || a.text != nil {
		t.Error("an absence is not remembered")
	}
}

// A cache that asks for patience is left alone at once, for as long as it says, within
// bounds.
func TestUpstreamThatIsBusy(t *testing.T) {
	for asked, alone := range map[time.Duration]time.Duration{
		time.Second:     leftAloneFor,
		2 * time.Minute: 2 * time.Minute,
		time.Hour:       maxLeftAlone,
	} {
		u := newUpstreamTrial(t)
		u.open(t, u.configFirst)
		u.one.err = fmt.Errorf("ask: %w", busyError(asked))
		for range 3 {
			if _, err := u.Has(t.Context(), strings.Repeat("0", 32)); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("asked for %s: %v", asked, err)
			}
		}
		u.later(alone - time.Second)
		u.Has(t.Context(), strings.Repeat("0", 32))
		if u.one.asked != 1 {
			t.Errorf("asked for %s: it was asked %d times meanwhile", asked, u.one.asked)
		}
		u.later(time.Second)
		u.Has(t.Context(), strings.Repeat("0", 32))
		if u.one.asked != 2 {
			t.Errorf("asked for %s: it was asked %d times after that", asked, u.one.asked)
		}
	}
}

type busyError time.Duration

func (e busyError) Error() string              { return "too many requests" }
func (e busyError) AskedToWait() time.Duration { return time.Duration(e) }

// A cache whose NAR could not be had is asked last for the path for a while; its record
// counts if there is no other.
func TestUpstreamAvoided(t *testing.T) {
	u := newUpstreamTrial(t)
	both, only := storePath("0", "both"), storePath("1", "only")
	u.one.set(t, both, u.keyA)
	u.one.set(t, only, u.keyA)
	u.two.set(t, both, u.keyB)
	from := func(p layout.StorePath) string {
		t.Helper()
		_, url, err := u.Find(t.Context(), p.Hash(), func(int64) error { return nil })
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
		return url
	}
	first, second := "https://a.example.org", "https://b.example.org"
	for _, p := range []layout.StorePath{both, only} {
		if got := from(p); got != first {
			t.Errorf("%s is from %q", p, got)
		}
		u.Avoid(p.Hash(), first)
	}
	if got := from(both); got != second {
		t.Errorf("what both have is from %q", got)
	}
	if got := from(only); got != first {
		t.Errorf("what no other has is from %q", got)
	}
	u.one.err = errors.New("connection refused")
	u.two.err = u.one.err
	if got := from(only); got != first {
		t.Errorf("what no other has is from %q while nobody answers", got)
	}
}

// A cache that asked the question itself counts as one that lacks the path, for this
// once: it may get the path from elsewhere.
func TestUpstreamThatAsks(t *testing.T) {
	u := newUpstreamTrial(t)
	u.one.err = fmt.Errorf("ask: %w", loopError{})
	p := storePath("0", "x")
	for i := range 5 {
		if _, err := u.Has(t.Context(), p.Hash()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what no other cache has: %v", err)
		}
		u.wantAsked(t, i+1, i+1)
	}
	u.two.set(t, p, u.keyB)
	if _, err := u.Has(t.Context(), p.Hash()); err != nil {
		t.Errorf("what another cache has: %v", err)
	}
	if state := u.States()[0]; state.Alone != nil {
		t.Errorf("it is left alone: %v", state.Alone)
	}
}

type loopError struct{}

func (loopError) Error() string { return "508 Loop Detected" }
func (loopError) Loops() bool   { return true }

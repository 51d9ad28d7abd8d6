package inbox

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A slowReader is a tree whose NARs take until they are let go to be read.
type slowReader struct {
	layout.Tree
	reading chan share.Client // is sent the client, in the name that the inbox has for it
	goOn    chan struct{}
}

func (s *slowReader) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if key.Kind() == layout.KindNAR {
		s.reading <- share.From(ctx)
		<-s.goOn
	}
	return s.Tree.Get(ctx, key)
}

// addressed returns the narinfo of a path that claims a content address which
// only reading the NAR of another can refute.
func (s *sample) addressed(t *testing.T, i int, name string) (layout.Key, string) {
	n := s.narInfo(t, name)
	n.Sigs, n.References = nil, nil
	n.CA = fmt.Sprintf("fixed:r:sha1:%032d", i)
	ca, err := layout.ParseContentAddress(n.CA)
	if err != nil {
		t.Fatal(err)
	}
	if n.Path, err = ca.Path(layout.DefaultStoreDir, "evil", nil, false); err != nil {
		t.Fatal(err)
	}
	return layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir))
}

// A few bytes can make the inbox read a large NAR. A client has its share of such
// reading, and neither the locks of paths nor those of NARs are held meanwhile: the
// owner of the NAR publishes it without waiting.
func TestReadingIsShared(t *testing.T) {
	s := newSample(t)
	slow := &slowReader{reading: make(chan share.Client), goOn: make(chan struct{})}
	tr := newTrial(t, func(c *Config) {
		slow.Tree = c.Writer.Tree
		w := *c.Writer
		w.Tree = slow
		c.Writer = &w
	})
	nar := s.nar(t, "flat")
	tr.mustAs("honest", nar, s.objects[nar], Created)
	var attacks sync.WaitGroup
	for i := range 20 {
		key, text := s.addressed(t, i, "flat")
		attacks.Go(func() {
			if _, err := tr.sendAs("attacker", key, text, false); reasonOf(err) != WrongCA {
				t.Errorf("a content address that is not that of the NAR: %v", err)
			}
		})
	}
	attacker := share.From(as(share.As(t.Context(), "attacker")))
	for range maxReading / 2 {
		if got := <-slow.reading; got != attacker {
			t.Errorf("the NAR is read for %q", got)
		}
	}
	key := layout.NarInfoKey(s.path("flat"))
	tr.mustAs("honest", key, s.objects[key], Created)
	tr.mustAs("honest", layout.ListingKey(s.path("flat")), s.objects[layout.ListingKey(s.path("flat"))], Unchanged)
	// Another client's turn comes beside those of the attacker.
	other, text := s.addressed(t, 100, "flat")
	attacks.Go(func() { tr.sendAs("other", other, text, false) })
	if got := <-slow.reading; got != share.From(as(share.As(t.Context(), "other"))) {
		t.Errorf("the NAR is read for %q", got)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case slow.goOn <- struct{}{}:
			case <-slow.reading:
			case <-done:
				return
			}
		}
	}()
	attacks.Wait()
	close(done)
	if got := contents(t, tr.tree)[key]; got != s.objects[key] {
		t.Errorf("the record is %q", got)
	}
}

// A client that asks for a lock again and again has a turn when others have had
// theirs.
func TestLockTurns(t *testing.T) {
	var l locks
	order := make(chan string, 10)
	unlock, err := l.lock(share.As(t.Context(), "a"), "key")
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.keys["key"].waiting)
	}
	var all sync.WaitGroup
	for i, c := range []share.Client{"a", "a", "a", "b", "b", "c"} {
		all.Go(func() {
			unlock, err := l.lock(share.As(t.Context(), c), "key")
			if err != nil {
				t.Error(err)
				return
			}
			order <- string(c)
			unlock()
		})
		for waiting() <= i {
		}
	}
	gone, leave := context.WithCancel(share.As(t.Context(), "d"))
	all.Go(func() {
		if _, err := l.lock(gone, "key"); err == nil {
			t.Error("a lock for a client that is gone")
		}
	})
	for waiting() < 7 {
	}
	leave()
	for waiting() > 6 {
	}
	unlock()
	all.Wait()
	close(order)
	var got []string
	for c := range order {
		got = append(got, c)
	}
	if diff := cmp.Diff(strings.Split("b c a b a a", " "), got); diff != "" {
		t.Errorf("the turns (-want +got):\n%s", diff)
	}
	if len(l.keys) != 0 {
		t.Errorf("%d locks are left", len(l.keys))
	}
}

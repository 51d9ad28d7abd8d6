package inbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// References that are looked up in a bucket cost requests there: a client has a budget
// for them, what waits for it included, and another one notices nothing.
func TestLookupsAreBounded(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar := s.nar(t, "flat")
	tr.must(nar, s.objects[nar], true, Created)
	send := func(c share.Client, i int, refs ...layout.StorePath) (Outcome, error) {
		key, text := s.invented(t, i, refs...)
		return tr.Put(share.As(t.Context(), c), key, strings.NewReader(text), Options{Size: -1})
	}
	var refs []layout.StorePath
	for i := range 60 {
		refs = append(refs, inventedPath(1000+i))
		if _, err := send("c", 1000+i); err != nil {
			t.Fatal(err)
		}
	}
	tr.lookups = share.NewBudget(100, time.Hour)
	want := func(name string, outcome, want Outcome, err, wanted error) {
		t.Helper()
		if outcome != want || !errors.Is(err, wanted) {
			t.Errorf("%s: %v, %v", name, outcome, err)
		}
	}
	o, err := send("b", 1, append([]layout.StorePath{inventedPath(1)}, refs...)...)
	want("one", o, Created, err, nil)
	missing := inventedPath(3000)
	o, err = send("a", 2, append(slices.Clone(refs), missing)...)
	want("one that waits", o, Held, err, nil)
	o, err = send("a", 3, refs...)
	want("the second", o, Created, err, nil)
	o, err = send("a", 4)
	want("one more", o, 0, err, share.ErrBusy)
	o, err = send("b", 3000)
	want("another client", o, Created, err, nil)
	for range 3 {
		if err := tr.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if tr.Waiting() != 1 {
		t.Error("what waited was looked at for a client that owes lookups")
	}
	tr.lookups = share.NewBudget(100, time.Hour)
	tr.Inbox.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	for range 3 {
		if err := tr.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if tr.Waiting() != 0 {
		t.Error("what waited is not published")
	}
}

// NARs that a client has read again and again from a bucket, by few bytes of its own, count
// as lookups; another client notices nothing.
func TestReadingCosts(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar := s.nar(t, "flat")
	tr.must(nar, s.objects[nar], true, Created)
	tr.lookups = share.NewBudget(20, time.Hour)
	refused := 0
	for i := range 40 {
		key, text := s.addressed(t, i, "flat")
		switch _, err := tr.sendAs("a", key, text, false); {
		case errors.Is(err, share.ErrBusy):
			refused++
		case reasonOf(err) != WrongCA:
			t.Fatal(err)
		}
	}
	if refused < 15 || refused > 25 {
		t.Errorf("%d of 40 were refused", refused)
	}
	key, text := s.addressed(t, 100, "flat")
	if _, err := tr.sendAs("b", key, text, false); reasonOf(err) != WrongCA {
		t.Errorf("another client: %v", err)
	}
}

// perClient counts the operations that are done for each client.
type perClient struct {
	layout.Tree
	mu  sync.Mutex
	ops map[share.Client]int
}

func (p *perClient) count(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ops == nil {
		p.ops = map[share.Client]int{}
	}
	p.ops[share.From(ctx)]++
}

func (p *perClient) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	p.count(ctx)
	return p.Tree.Get(ctx, key)
}

func (p *perClient) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	p.count(ctx)
	return p.Tree.Stat(ctx, key)
}

func (p *perClient) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	p.count(ctx)
	return p.Tree.Put(ctx, key, body, opts)
}

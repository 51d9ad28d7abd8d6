package inbox

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// A halting tree stands still before some of its operations, in turn, until it
// may go on.
type halting struct {
	layout.Tree
	at []int // numbers of operations, from 1

	n      int // operations so far
	halted chan bool
	on     chan struct{}
}

func halt(tree layout.Tree, at ...int) *halting {
	return &halting{Tree: tree, at: at, halted: make(chan bool), on: make(chan struct{})}
}

// step is called by one goroutine at a time: what the tests do has no jobs side
// by side.
func (h *halting) step() {
	h.n++
	if len(h.at) > 0 && h.n == h.at[0] {
		h.at = h.at[1:]
		h.halted <- true
		<-h.on
	}
}

func (h *halting) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	h.step()
	return h.Tree.Get(ctx, key)
}

func (h *halting) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	h.step()
	return h.Tree.Stat(ctx, key)
}

func (h *halting) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	h.step()
	return h.Tree.Put(ctx, key, body, opts)
}

func (h *halting) Delete(ctx context.Context, key layout.Key) error {
	h.step()
	return h.Tree.Delete(ctx, key)
}

// begin does something in a process whose tree halts. It reports whether the
// process stands still now, or has ended; next lets it go on, and reports the same.
func begin(tr *trial, h *halting, do func()) (halted bool, next func() bool) {
	tr.Inbox.writer.Tree = h
	go func() {
		do()
		close(h.halted)
	}()
	return <-h.halted, func() bool {
		select {
		case h.on <- struct{}{}:
			return <-h.halted
		case halted := <-h.halted: // it has ended before
			return halted
		}
	}
}

// bothSigned sends the narinfo of one path, in different words.
type bothSigned struct {
	*sample
	nar, key layout.Key
}

func newBothSigned(t *testing.T) *bothSigned {
	s := newSample(t)
	return &bothSigned{s, s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))}
}

// by returns the narinfo with one more signature.
func (s *bothSigned) by(t *testing.T, name string) string {
	n := s.narInfo(t, "flat")
	n.AddSigs(name + "-1:" + strings.Repeat("A", 86) + "==")
	return string(n.Marshal(layout.DefaultStoreDir))
}

// want wants the signatures of both in the tree, and nothing held.
func (s *bothSigned) want(t *testing.T, when string, trials ...*trial) {
	t.Helper()
	for _, tr := range trials {
		if err := tr.Settle(t.Context()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	tree := trials[0].tree
	text := contents(t, tree)[s.key]
	if !strings.Contains(text, "alice-1:") || !strings.Contains(text, "bob-1:") {
		t.Errorf("%s: not everyone's signature is there:\n%s", when, text)
	}
	for info := range tree.List(t.Context(), layout.HeldPrefix) {
		t.Errorf("%s: still held: %s", when, info.Key)
	}
	if err := fsck.Whole(t.Context(), tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// TestHeldByTwo: a client is told by one process that its narinfo waits, while
// another process publishes the path from a narinfo that waits there, with
// another signature. However their operations fall between each other, neither
// signature is lost.
func TestHeldByTwo(t *testing.T) {
	s := newBothSigned(t)
	meetings := 0
	// The first process halts at i, then the second at j; the first goes on to k,
	// the second to its end, the first to its end.
	for i, first := 1, true; first && !t.Failed(); i += quick.Step(4) {
		for j, other := 1, true; other; j++ {
			for k, again := i+1, true; again; k++ {
				when := fmt.Sprintf("halted at %d, %d, %d", i, j, k)
				one := newTrial(t, nil)
				two := trialOn(t, one.mem, nil)
				two.must(s.key, s.by(t, "alice"), false, Held)
				var goOn, end func() bool
				first, goOn = begin(one, halt(one.mem, i, k), func() {
					if _, err := one.send(s.key, s.by(t, "bob"), false); err != nil {
						t.Errorf("%s: bob's narinfo: %v", when, err)
					}
				})
				other, end = begin(two, halt(one.mem, j), func() {
					if _, err := two.send(s.nar, s.objects[s.nar], true); err != nil {
						t.Errorf("%s: the NAR: %v", when, err)
					}
				})
				again = goOn()
				end()
				goOn()
				one.Inbox.writer.Tree, two.Inbox.writer.Tree = one.mem, one.mem
				s.want(t, when, one, two)
				meetings++
			}
		}
	}
	if meetings < 200 {
		t.Errorf("they met %d times, too few to mean anything", meetings)
	}
}

// TestHeldWhileSettling: between the look of one process at what is held and its
// publishing it, another process holds the narinfo with another signature, tells
// the client so, and then the NAR comes to a third.
func TestHeldWhileSettling(t *testing.T) {
	s := newBothSigned(t)
	for i, halted := 1, true; halted; i++ {
		one := newTrial(t, nil)
		two, three := trialOn(t, one.mem, nil), trialOn(t, one.mem, nil)
		one.must(s.key, s.by(t, "alice"), false, Held)
		var end func() bool
		halted, end = begin(one, halt(one.mem, i), func() {
			if err := one.Settle(t.Context()); err != nil {
				t.Error(err)
			}
		})
		two.must(s.key, s.by(t, "bob"), false, Held)
		three.must(s.nar, s.objects[s.nar], true, Created)
		end()
		one.Inbox.writer.Tree = one.mem
		s.want(t, fmt.Sprint("halted at ", i), one, two)
	}
}

// TestHeldAndSent: a narinfo that waits has a signature that the one with which
// the path is published does not have. It is added.
func TestHeldAndSent(t *testing.T) {
	s := newBothSigned(t)
	one := newTrial(t, nil)
	two := trialOn(t, one.mem, nil)
	one.must(s.key, s.by(t, "alice"), false, Held)
	two.must(s.nar, s.objects[s.nar], true, Created) // which tells no inbox here
	if _, err := one.send(s.key, s.by(t, "bob"), true); err != nil {
		t.Fatal(err)
	}
	s.want(t, "sent", one)
}
